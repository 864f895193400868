"""One experiment of one tracking store: find runs by their key, claim them, begin or continue them."""

from __future__ import annotations

import hashlib
import logging
import traceback
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from tlft.config.schema import Config
from tlft.errors import NonFiniteLossError, RunDeletedError
from tlft.runtime import claims, signals
from tlft.runtime.files import atomic_write
from tlft.tracking import schema
from tlft.tracking.active_run import DIVERGED_TAG, SECONDS_TAG, ActiveRun, RunFolder
from tlft.tracking.client import KEY_TAG, SWEEP_TAG, connect, create_database, quiet, refuse_deleted, tracking_uri
from tlft.tracking.integrity import find_damage
from tlft.tracking.journal import Journal
from tlft.tracking.outcome import Outcome, RunStatus
from tlft.tracking.reader import find_run, to_record
from tlft.tracking.records import Record
from tlft.tracking.relocate import follow_move
from tlft.tracking.server import answering, is_server

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

log = logging.getLogger(__name__)

NOTE_TAG = "mlflow.note.content"
HOME_TAG = "tlft.home"
RESUMED_TAG = "tlft.resumed"
PARENT_TAG = "mlflow.parentRunId"


def find_problems(config: Config) -> list[str]:
    """Return what is wrong with the store's address or a local database, a line each, without opening it."""
    if config.tracking.uri is not None and not config.tracking.uri.strip():
        return ["tracking.uri: is empty; give it or MLFLOW_TRACKING_URI as http://HOST:PORT, or take tracking=local"]
    return schema.find_problems(tracking_uri(config.tracking.uri, config.home))


class Store:
    """One experiment of one tracking store, as it is seen from one `paths.home`.

    Attributes:
        place: tells it from the other experiments and stores that this home has runs in.
    """

    def __init__(self, config: Config) -> None:
        self.home = config.home
        self.uri = tracking_uri(config.tracking.uri, config.home)
        (self.home / "cache").mkdir(parents=True, exist_ok=True)
        own = self.uri == tracking_uri(None, self.home)  # not by its address, so that a home may be moved
        # Of several processes that create database and experiment together most would fail (hydraflow#245).
        with FileLock(self.home / "cache" / "tracking.lock"):
            if own:
                follow_move(self.home)
            with quiet():
                self.home_id = _home_id(self.home / "cache" / "home-id")
                self.client, self.experiment_id = self._open(config.tracking.experiment)
        self._locks = self.home / "cache" / "locks"
        elsewhere = f"{hashlib.sha256(self.uri.encode()).hexdigest()[:8]}-"
        self.place = ("" if own else elsewhere) + self.experiment_id
        self.named_uri = "" if own else self.uri

    def _open(self, name: str) -> tuple[MlflowClient, str]:
        with answering(self.uri):
            if self.uri.startswith("sqlite:///"):
                database = Path(self.uri.removeprefix("sqlite:///"))
                if not database.exists():
                    create_database(database, self.home / "mlruns")
            client = connect(self.uri)
            found = client.get_experiment_by_name(name)
            if found is None:
                where = (self.home / "mlruns" / name).as_uri() if self.uri.startswith("sqlite") else None
                found = _create_experiment(client, name, where)
        refuse_deleted(found, self.uri)
        return client, str(found.experiment_id)

    @property
    def link(self) -> str:
        """Address of the runs table in the user interface that `mlflow ui` starts."""
        server = self.uri if is_server(self.uri) else "http://127.0.0.1:5000"
        return f"{server}/#/experiments/{self.experiment_id}/runs?workflowType=machine_learning"

    def runs_with(self, key: str) -> list[Run]:
        """Return the runs of a key that were not deleted, the newest first."""
        asked = f"tags.`{KEY_TAG}` = '{key}'"
        with answering(self.uri):
            return list(self.client.search_runs([self.experiment_id], asked, order_by=["attributes.start_time DESC"]))

    def finished(self, key: str) -> Outcome | None:
        """Return the outcome of the newest finished run of a key whose files are all there, or None."""
        for run in self.runs_with(key):
            if run.info.status != "FINISHED":
                continue
            if damage := find_damage(run):
                log.warning("run %s is finished but %s: it is run again", run.info.run_id, damage)
                continue
            tags = run.data.tags
            return Outcome(
                RunStatus.SKIPPED,
                run.info.run_id,
                run.info.run_name,
                dict(run.data.metrics),
                float(tags.get(SECONDS_TAG, 0)),
                commit=tags.get("commit", ""),
                dirty=tags.get("dirty") == "true",
            )
        return None

    def unfinished(self, key: str) -> Run | None:
        """Return the run of a key that goes on when the key is claimed: the last one begun, if it was not finished."""
        runs = self.runs_with(key)
        remembered = self.folder_of(key).read().get("run_id")  # a clock may have been set back, so not by time alone
        for run in [run for run in runs if run.info.run_id == remembered] or runs[:1]:
            if run.info.status != "FINISHED" and DIVERGED_TAG not in run.data.tags and self._has_all_of(run, key):
                return run
        return None

    def _has_all_of(self, run: Run, key: str) -> bool:
        """Tell whether what the run has logged is remembered here, so that nothing would be logged twice."""
        told = self.folder_of(key).read()
        return told.get("run_id") == run.info.run_id or (not told and not run.data.metrics)

    @contextmanager
    def claim(self, key: str, *, force: bool = False) -> Iterator[ClaimedRun]:
        """Hold the run of a key for this process, so that nobody else computes it meanwhile.

        Args:
            key: of the run.
            force: compute it although it is finished.
        """
        claim = self.claim_of(key)
        if not claim.acquire():
            yield ClaimedRun(self, key, Outcome(RunStatus.ELSEWHERE))
            return
        try:
            self._deliver_rest(key)
            yield ClaimedRun(self, key, None if force else self.finished(key))
        except (KeyboardInterrupt, signals.Stopped):
            claim.release(stopped=True)
            raise
        finally:
            claim.release()

    def tidy(self, key: str) -> None:
        """Delete what a process left of a finished run that was killed in its last moment."""
        if self.folder_of(key).path.exists() or claims.is_left(self._locks, self._claim_name(key)):
            with self.claim(key):
                pass

    def _deliver_rest(self, key: str) -> None:
        """Tell the store what it has not got of a run that was computed to its end, and delete what is left of it."""
        folder = self.folder_of(key)
        if (run_id := folder.read().get("run_id")) is None:
            return
        journal = Journal(folder.path)
        ended = journal.has("end")
        if not (ended or folder.is_cut):
            return
        with answering(self.uri):
            run = find_run(self.client, run_id)
        if run is None:
            if ended:
                log.warning("run %s is not in %s any more: it is run again", run_id, self.uri)
        elif run.info.status == "FINISHED" and not journal.waiting:  # its process was killed while it tidied up
            folder.remove()
        elif ended and run.info.lifecycle_stage != "deleted":  # else what it has computed was not wanted
            ActiveRun(self.client, run, folder).finish()

    def claim_of(self, key: str) -> claims.Claim:
        """Return the right to work on the run of a key, which is still to be acquired."""
        return claims.Claim(self._locks, self._claim_name(key))

    def owner(self, key: str) -> claims.Owner | None:
        """Return who works on the run of a key, or None if nobody does."""
        return claims.owner_of(self._locks, self._claim_name(key))

    def mark_submitted(self, key: str, slurm_job: str) -> None:
        """Leave word that a Slurm job will work on the run of a key."""
        claims.mark_submitted(self._locks, self._claim_name(key), slurm_job)

    def _claim_name(self, key: str) -> str:
        return f"{self.place}-{key[:32]}"

    def folder_of(self, key: str) -> RunFolder:
        """Return the folder of the unfinished run of a key."""
        return RunFolder(self.home / "checkpoints" / self._claim_name(key))

    def recent(self, arch: str, host: str, count: int = 30) -> list[Record]:
        """Return the newest finished runs of an architecture on a machine, as a measure of what another one takes."""
        asked = f"params.`arch.name` = '{arch}' AND tags.host = '{host}' AND attributes.status = 'FINISHED'"
        order = ["attributes.start_time DESC"]
        with answering(self.uri):
            found = self.client.search_runs([self.experiment_id], asked, max_results=count, order_by=order)
        return [to_record(run) for run in found]

    def end_lost_runs(self) -> int:
        """Mark runs KILLED that were begun from this home and say RUNNING although nobody works on them."""
        with answering(self.uri):
            found = self.client.search_runs([self.experiment_id], "attributes.status = 'RUNNING'")
            ours = [run.info.run_id for run in found if self._is_lost(run)]
            # Asked again, since an owner that had ended its run meanwhile is gone too.
            lost = [run_id for run_id in ours if self.client.get_run(run_id).info.status == "RUNNING"]
            for run_id in lost:
                self.client.set_terminated(run_id, "KILLED")
        return len(lost)

    def _is_lost(self, run: Run) -> bool:
        return run.data.tags.get(HOME_TAG) == self.home_id and self.owner(_claimed_as(run)) is None

    def set_note(self, text: str) -> None:
        """Write the experiment's note (Markdown), which the user interface shows above its runs."""
        self.client.set_experiment_tag(self.experiment_id, NOTE_TAG, text)


@dataclass(frozen=True)
class ClaimedRun:
    """A key that this process holds, or what is known of its run if there is nothing to do."""

    store: Store
    key: str
    outcome: Outcome | None

    @contextmanager
    def start(
        self, name: str, params: Mapping[str, str], tags: Mapping[str, str], *, parent: str | None = None
    ) -> Iterator[ActiveRun]:
        """Open a new run, or the unfinished one; it is FINISHED, FAILED or KILLED when the block is left.

        Args:
            name: of a new run.
            params: of the run.
            tags: of the run.
            parent: id of the run that stands for the sweep; a run has its first parent for good.
        """
        all_tags = {KEY_TAG: self.key, HOME_TAG: self.store.home_id, "mlflow.source.name": "run.py", **tags}
        if "commit" in tags:
            all_tags["mlflow.source.git.commit"] = tags["commit"]
        with answering(self.store.uri):
            unfinished = self.store.unfinished(self.key)
            if unfinished is not None:
                run = self._continue(unfinished, all_tags)
            else:
                run = self._create(name, all_tags | ({PARENT_TAG: parent} if parent else {}))
        try:
            run.log_params(params)
            run.deliver()
            yield run
            # Not in the middle of it: KILLED would come after FINISHED, and what the run goes on from would be gone.
            with signals.deferred("stopping once this run is finished"):
                run.finish()
        except RunDeletedError:  # nothing more can be said of it
            raise
        except NonFiniteLossError:
            run.stop("FAILED", traceback.format_exc(), diverged=True)
            raise
        except (KeyboardInterrupt, signals.Stopped):
            run.stop("KILLED")
            raise
        except BaseException:  # SystemExit is one: something in the run has called sys.exit
            run.stop("FAILED", traceback.format_exc())
            raise
        signals.stop_if_asked()

    def _create(self, name: str, tags: Mapping[str, str]) -> ActiveRun:
        client, folder = self.store.client, self.store.folder_of(self.key)
        for orphan in self.store.runs_with(self.key):
            if orphan.info.status == "RUNNING":  # its process is gone, or this one would not hold the key
                client.set_terminated(orphan.info.run_id, "KILLED")
        folder.remove()
        created = client.create_run(self.store.experiment_id, run_name=name, tags=dict(tags))
        folder.remember(run_id=created.info.run_id, uri=self.store.named_uri)
        return ActiveRun(client, created, folder)

    def _continue(self, run: Run, tags: Mapping[str, str]) -> ActiveRun:
        client, folder = self.store.client, self.store.folder_of(self.key)
        folder.remember(run_id=run.info.run_id, uri=self.store.named_uri)
        client.update_run(run.info.run_id, status="RUNNING")
        active = ActiveRun(client, run, folder, resumed=True)
        times = int(run.data.tags.get(RESUMED_TAG, "0")) + 1
        active.log_tags({**tags, RESUMED_TAG: str(times)})
        return active


def _claimed_as(run: Run) -> str:
    """Return the key by which whoever works on a run, or on the sweep that it stands for, holds it."""
    tags = run.data.tags
    return str(tags.get(KEY_TAG) or tags.get(SWEEP_TAG, ""))


def _create_experiment(client: MlflowClient, name: str, where: str | None) -> Experiment:
    """Create an experiment, or find the one that somebody else has created in this moment (on a server)."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_experiment(client.create_experiment(name, artifact_location=where))
    except MlflowException:
        if (found := client.get_experiment_by_name(name)) is None:
            raise
        return found


def _home_id(file: Path) -> str:
    """Return the name that this `paths.home` has for good, also when it is moved."""
    if not file.exists():
        atomic_write(file, uuid.uuid4().hex.encode())
    return file.read_text()
