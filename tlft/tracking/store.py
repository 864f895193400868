"""One experiment of one tracking store: find its runs by their keys, and who works on them."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from tlft.config.addresses import hide_password, name_in_home, place_of
from tlft.config.schema import Config
from tlft.database import schema
from tlft.database.places import tracking_uri
from tlft.database.relocate import follow_move
from tlft.names import Param, Tag
from tlft.records.outcome import Outcome
from tlft.records.record import Record
from tlft.runtime.claims import Claim, Owner, owners
from tlft.storage.files import artifact_folder, last_change
from tlft.storage.home_id import home_ids
from tlft.storage.journal import Journal
from tlft.storage.locks import locked
from tlft.tracking.client import all_runs, connect, create_database, quiet, refuse_deleted
from tlft.tracking.contention import is_alive
from tlft.tracking.done_before import outcome_of
from tlft.tracking.integrity import find_damage
from tlft.tracking.reader import to_record
from tlft.tracking.run_folder import RunFolder
from tlft.tracking.server import answering, is_server

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

log = logging.getLogger(__name__)

_AT_ONCE = 200  # ids in one question: MLflow's parser takes so many words and no more
_MANY = 50  # keys, which take a server as long as a page of runs does


def find_problems(config: Config) -> list[str]:
    """Return what is wrong with the store's address or a local database, a line each, without opening it."""
    if config.tracking.uri is not None and not config.tracking.uri.strip():
        return ["tracking.uri: is empty; give it or MLFLOW_TRACKING_URI as http://HOST:PORT, or take tracking=local"]
    return schema.find_problems(tracking_uri(config.tracking.uri, config.home))


class Store:
    """One experiment of one tracking store, as it is seen from one `paths.home`.

    Attributes:
        place: tells it from the other experiments and stores that this home has runs in.
        origin_tags: say where a run comes from.
        named_uri: the address; empty for the home's own database, so that a home may be moved.
    """

    def __init__(self, config: Config) -> None:
        self.home = config.home
        self.uri = hide_password(tracking_uri(config.tracking.uri, config.home))
        (self.home / "cache").mkdir(parents=True, exist_ok=True)
        is_homes_own = self.uri == tracking_uri(None, self.home)  # not by its address, so that a home may be moved
        # Of several processes that create database and experiment together most would fail (hydraflow#245).
        with locked(self.home / "cache" / "tracking.lock"):
            if is_homes_own:
                follow_move(self.home)
            with quiet:
                self.home_id, former = home_ids(self.home)
                self.client, self.experiment_id = self._open(config.tracking.experiment)
        self.origin_tags = {Tag.HOME: self.home_id, Tag.SOURCE_NAME: "run.py"}
        self._locks = self.home / "cache" / "locks"
        self.named_uri = "" if is_homes_own else self.uri
        self._home_ids = {self.home_id, *(former if is_homes_own else ())}  # of a copied database all runs are copies
        self.place = place_of(self.uri, self.experiment_id, own=tracking_uri(None, self.home))

    def _open(self, name: str) -> tuple[MlflowClient, str]:
        with answering(self.uri):
            database = schema.database_path(self.uri)
            if database is not None and not database.exists():
                create_database(database, self.home / "mlruns")
            client = connect(self.uri)
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                artifacts = None if is_server(self.uri) else artifact_folder(self.home / "mlruns", name).as_uri()
                experiment = _create_experiment(client, name, artifacts)
        refuse_deleted(experiment, self.uri)
        return client, str(experiment.experiment_id)

    def runs_with(self, key: str) -> list[Run]:
        """Return the runs of a key that were not deleted, the newest first."""
        with answering(self.uri):
            return self.search(f"tags.`{Tag.RUN_KEY}` = '{key}'")

    def runs_of(self, keys: Collection[str]) -> dict[str, list[Run]]:
        """Return what `runs_with` does of each key, in one question where that is possible: MLflow finds no two tags.

        Of a database the ids are read; of a server all runs, unless they are many more than the keys.
        """
        with answering(self.uri):
            if (tagged := schema.tagged_runs(self.uri, Tag.RUN_KEY)) is not None:
                ids = [run_id for run_id, key in tagged if key in keys]
                parts = ["', '".join(ids[start : start + _AT_ONCE]) for start in range(0, len(ids), _AT_ONCE)]
                found = [run for part in parts for run in self.search(f"attributes.run_id IN ('{part}')")]
            else:
                most = 10 * len(keys) if len(keys) >= _MANY else 0
                found = list(islice(all_runs(self.client, self.experiment_id), most + 1)) if most else []
                if not most or len(found) > most:
                    return {key: self.runs_with(key) for key in keys}
        runs: dict[str, list[Run]] = {key: [] for key in keys}
        for run in sorted(found, key=lambda run: (-run.info.start_time, run.info.run_id)):
            if run.info.lifecycle_stage == "active" and (key := run.data.tags.get(Tag.RUN_KEY, "")) in runs:
                runs[key].append(run)
        return runs

    def search(self, condition: str, most: int = 1000, *, oldest_first: bool = False) -> list[Run]:
        """Return the runs that were not deleted and fulfil a condition, the newest first unless asked otherwise."""
        order = ["attributes.start_time" if oldest_first else "attributes.start_time DESC"]
        return list(self.client.search_runs([self.experiment_id], condition, max_results=most, order_by=order))

    def finished(self, key: str, runs: Sequence[Run] | None = None) -> Outcome | None:
        """Return the outcome of the newest finished run of a key, whose `runs` may be known, with all its files."""
        for run in self.runs_with(key) if runs is None else runs:
            if run.info.status != "FINISHED":
                continue
            if damage := find_damage(run.info.artifact_uri, run.data.tags):
                log.warning("run %s is finished but %s: it is run again", run.info.run_id, damage)
                continue
            return outcome_of(to_record(run))
        return None

    def unfinished(self, key: str, runs: Sequence[Run] | None = None) -> Run | None:
        """Return the run of a key that goes on when the key is claimed: the last one begun here, if unfinished."""
        runs = [run for run in (self.runs_with(key) if runs is None else runs) if self.is_own(run)]
        address = self.folder_of(key).address
        # A clock may have been set back, so the last one begun is not known by time alone.
        remembered = [run for run in runs if address is not None and run.info.run_id == address.run_id]
        for run in remembered or runs[:1]:
            # What it has logged must be known here, or it would be logged twice.
            is_known = bool(remembered) or (address is None and not run.data.metrics)
            if run.info.status != "FINISHED" and Tag.DIVERGED not in run.data.tags and is_known:
                return run
        return None

    def is_own(self, run: Run) -> bool:
        """Tell whether a run belongs to this home; what another has begun is never continued or marked here."""
        return run.data.tags.get(Tag.HOME, self.home_id) in self._home_ids

    def of_other_homes(self, key: str) -> list[Run]:
        """Return the runs of a key that other homes compute now."""
        return [run for run in self.runs_with(key) if not self.is_own(run) and is_alive(run)]

    def at_work(self, keys: Sequence[str]) -> set[str]:
        """Return those of some keys whose runs somebody computes, in this home or another."""
        at_work = {key for key, owner in zip(keys, self._owners(keys), strict=True) if owner is not None}
        if len(at_work) < len(keys):
            with answering(self.uri):
                running = self.search("attributes.status = 'RUNNING'")
            elsewhere = [run for run in running if not self.is_own(run) and is_alive(run)]
            at_work |= {run.data.tags.get(Tag.RUN_KEY, "") for run in elsewhere}.intersection(keys)
        return at_work

    def claim_of(self, key: str) -> Claim:
        """Return the right to work on the run of a key, which is still to be acquired."""
        return Claim(self._locks, name_in_home(self.place, key))

    def folder_of(self, key: str) -> RunFolder:
        """Return the folder of the unfinished run of a key."""
        return RunFolder(self.home / "checkpoints" / name_in_home(self.place, key))

    def recent(self, arch: str, host: str) -> list[Record]:
        """Return the newest finished runs of an architecture on a machine, as a measure of what another one takes."""
        condition = (
            f"params.`{Param.ARCH}` = '{arch}' AND tags.{Tag.HOST} = '{host}' AND attributes.status = 'FINISHED'"
        )
        with answering(self.uri):
            return [to_record(run) for run in self.search(condition, most=30)]

    def end_lost_runs(self, spared: Collection[str] = ()) -> int:
        """End runs that were begun from this home and say RUNNING although nobody works on them.

        Not those of `spared` keys, which are about to go on, nor one that was computed to its end: for another home
        they are at work until then.
        """
        with answering(self.uri):
            running = self.search("attributes.status = 'RUNNING'")
            ours = [run for run in running if Tag.HOME in run.data.tags and self.is_own(run)]
            keys = [run.data.tags.get(Tag.RUN_KEY) or run.data.tags.get(Tag.SWEEP_KEY, "") for run in ours]
            candidates = [
                run.info.run_id
                for run, key, owner in zip(ours, keys, self._owners(keys), strict=True)
                if owner is None and key not in spared and not Journal(self.folder_of(key).path).has("end")
            ]
            # Asked again, since an owner that had ended its run meanwhile is gone too.
            lost = [run for run in map(self.client.get_run, candidates) if run.info.status == "RUNNING"]
            for run in sorted(
                lost, key=lambda run: Tag.SWEEP_KEY in run.data.tags
            ):  # sweeps, once their jobs have ended
                self.put_down(run)
        return len(lost)

    def put_down(self, run: Run) -> None:
        """Mark a run KILLED that nobody goes on with, at its last sign of life; one that holds nothing is deleted."""
        if Tag.RUN_KEY in run.data.tags and not run.data.params and not run.data.metrics:
            self.client.delete_run(run.info.run_id)  # at once: a kill in between would leave it, KILLED, for good
        else:
            self.client.set_terminated(run.info.run_id, "KILLED", self._last_sign(run))

    def _last_sign(self, run: Run) -> int | None:
        """Return when a run was last computed (ms since 1970), by its heartbeat, what it wrote here, and its jobs."""
        key, beat = run.data.tags.get(Tag.RUN_KEY), run.data.tags.get(Tag.HEARTBEAT, "")
        signs = [int(beat)] if beat.isdecimal() else []
        if key is None:
            jobs = self.search(f"tags.`{Tag.PARENT}` = '{run.info.run_id}'")
            signs += [job.info.end_time for job in jobs if job.info.end_time]
        elif (folder := self.folder_of(key)).address == (run.info.run_id, self.named_uri):
            signs.append(last_change(folder.path))
        return max([run.info.start_time, *signs]) if signs else None

    def _owners(self, keys: Sequence[str]) -> list[Owner | None]:
        return owners([self.claim_of(key) for key in keys])

    def set_note(self, text: str) -> None:
        """Write the experiment's note (Markdown), which the user interface shows above its runs."""
        self.client.set_experiment_tag(self.experiment_id, Tag.NOTE, text)

    def set_view(self, key: str, view: str) -> None:
        """Keep a view of the experiment's runs (JSON) that people share by its key."""
        self.client.set_experiment_tag(self.experiment_id, Tag.VIEW + key, view)


def _create_experiment(client: MlflowClient, name: str, artifacts: str | None) -> Experiment:
    """Create an experiment, or find the one that somebody else has created in this moment (on a server)."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_experiment(client.create_experiment(name, artifact_location=artifacts))
    except MlflowException:
        if (experiment := client.get_experiment_by_name(name)) is None:
            raise
        return experiment
