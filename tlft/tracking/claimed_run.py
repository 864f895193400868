"""Hold the run of a key, so that nobody else computes it meanwhile, and open it: a new run, or the unfinished one."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tlft.errors import ClaimLostError, NonFiniteLossError, RunDeletedError, RunElsewhereError
from tlft.names import Tag
from tlft.records.outcome import Outcome, RunStatus
from tlft.runtime import signals
from tlft.runtime.claims import Claim
from tlft.storage.journal import Journal
from tlft.tracking.active_run import ActiveRun
from tlft.tracking.client import find_run
from tlft.tracking.contention import beating, first_tags, take_turn
from tlft.tracking.server import answering
from tlft.tracking.store import Store

if TYPE_CHECKING:
    from mlflow.entities import Run

log = logging.getLogger(__name__)


@contextmanager
def claim_run(store: Store, key: str, *, force: bool = False) -> Iterator[ClaimedRun]:
    """Hold the run of a key, by force also a finished one, so that nobody but this process computes it meanwhile."""
    claim = store.claim_of(key)
    if not claim.acquire():
        yield ClaimedRun(store, key, claim, Outcome(RunStatus.ELSEWHERE))
        return
    try:
        _deliver_end(store, key)
        outcome = None if force else store.finished(key)
        if outcome is not None:
            _leave_to(outcome.run_id, store, key)
        elif store.of_other_homes(key):
            outcome = Outcome(RunStatus.ELSEWHERE)
        yield ClaimedRun(store, key, claim, outcome, force=force)
    except (KeyboardInterrupt, signals.Stopped):
        claim.release(stopped=True)
        raise
    finally:
        claim.release()


def tidy(store: Store, key: str) -> None:
    """Delete what a process left of a finished run that was killed in its last moment."""
    if store.folder_of(key).path.exists() or store.claim_of(key).has_files():
        with claim_run(store, key):
            pass


def _deliver_end(store: Store, key: str) -> None:
    """Tell the store what it has not got of a run that was computed to its end, and delete what is left of it."""
    folder = store.folder_of(key)
    address = folder.address
    if address is None:
        return
    journal = Journal(folder.path)
    ended = journal.has("end")
    if journal.entries and not ended:  # none has a run that has just begun, or whose folder was being removed
        return
    with answering(store.uri):
        run = find_run(store.client, address.run_id)
    if run is None:
        if ended:
            log.warning("run %s is not in %s any more: it is run again", address.run_id, store.uri)
    elif run.info.status == "FINISHED" and not journal.waiting:  # its process was killed while it tidied up
        folder.remove()
    elif ended and run.info.lifecycle_stage != "deleted":  # else what it has computed was not wanted
        ActiveRun(store.client, run, folder).finish()


def _leave_to(finished: str, store: Store, key: str) -> None:
    """Delete what this home's unfinished run goes on from, if another home has finished a run of its key."""
    folder = store.folder_of(key)
    if (address := folder.address) is None:
        return
    runs = {run.info.run_id: run for run in store.runs_with(key)}
    if finished in runs and not store.is_own(runs[finished]):
        own = runs.get(address.run_id)
        if own is None or not store.is_own(own) or ActiveRun(store.client, own, folder).deliver(at_once=True):
            folder.remove()


@dataclass(frozen=True)
class ClaimedRun:
    """A key that this process holds, or what is known of its run if there is nothing to do."""

    store: Store
    key: str
    claim: Claim
    outcome: Outcome | None
    force: bool = False

    @contextmanager
    def start(
        self, name: str, params: Mapping[str, str], tags: Mapping[str, str], *, parent: str | None = None
    ) -> Iterator[ActiveRun]:
        """Open a new run, or the unfinished one; it is FINISHED, FAILED or KILLED when the block is left.

        A signal that comes while it is finished waits for `signals.stop_if_asked`: the run is done. The `parent` is the
        run that stands for the sweep; a run has its first parent for good.

        Raises:
            ClaimLostError: if another process has taken the run over; it is that one's then, whatever its state.
            RunElsewhereError: if another home has begun it in the same moment, or finished it in the last one.
        """
        self.claim.confirm()
        all_tags = {Tag.RUN_KEY: self.key, **self.store.origin_tags, **tags}
        if Tag.COMMIT in tags:
            all_tags[Tag.SOURCE_COMMIT] = tags[Tag.COMMIT]
        with answering(self.store.uri):
            unfinished = self.store.unfinished(self.key)
            if unfinished is not None:
                run = self._continue(unfinished, all_tags)
            else:
                run = self._create(name, all_tags | ({Tag.PARENT: parent} if parent else {}))
        try:
            with beating(self.store.client, run.run_id):
                run.log_params(params)
                run.deliver()
                yield run
                # Not in the middle of it: KILLED would come after FINISHED, and what it goes on from would be gone.
                with signals.deferred("stopping once this run is finished"):
                    run.finish()
        except (RunDeletedError, ClaimLostError):  # nothing more can be said of it here
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

    def _create(self, name: str, tags: Mapping[str, str]) -> ActiveRun:
        client, folder = self.store.client, self.store.folder_of(self.key)
        for orphan in filter(self.store.is_own, self.store.runs_with(self.key)):
            if orphan.info.status == "RUNNING":  # its process is gone, or this one would not hold the key
                self.store.put_down(orphan)
        folder.remove()
        first = {name: tags[name] for name in (Tag.RUN_KEY, *self.store.origin_tags, Tag.PARENT) if name in tags}
        created = client.create_run(self.store.experiment_id, run_name=name, tags=first | first_tags())
        if not self._take_turn(created.info.run_id):
            self.store.put_down(created)
            raise RunElsewhereError(f"run {created.info.run_id}: another home computes it, or has done so")
        folder.remember(created.info.run_id, self.store.named_uri)
        run = ActiveRun(client, created, folder, confirm=self.claim.confirm)
        run.log_tags({name: text for name, text in tags.items() if name not in first})  # one may be refused
        return run

    def _take_turn(self, run_id: str) -> bool:
        store = self.store
        if not take_turn(store.client, run_id, store.home_id, lambda: store.of_other_homes(self.key)):
            return False
        # Another home may have begun and ended since it was asked for: whatever comes before a run took its time.
        return self.force or store.finished(self.key) is None

    def _continue(self, run: Run, tags: Mapping[str, str]) -> ActiveRun:
        client, folder = self.store.client, self.store.folder_of(self.key)
        folder.remember(run.info.run_id, self.store.named_uri)
        for tag, text in first_tags().items():
            client.set_tag(run.info.run_id, tag, text)
        client.update_run(run.info.run_id, status="RUNNING")
        if not self._take_turn(run.info.run_id):
            if run.info.status == "RUNNING":
                self.store.put_down(run)
            else:
                client.set_terminated(run.info.run_id, run.info.status, run.info.end_time)
            raise RunElsewhereError(f"run {run.info.run_id}: another home computes it, or has done so")
        active = ActiveRun(client, run, folder, resumed=True, confirm=self.claim.confirm)
        times_resumed = int(run.data.tags.get(Tag.RESUMED, "0")) + 1
        active.log_tags({**tags, Tag.RESUMED: str(times_resumed)})
        return active
