"""A run that is being computed: what it logs goes to its journal first, and from there to MLflow."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlft.commands import invocation
from tlft.errors import ClaimLostError, RunDeletedError, TlftError, without_passwords
from tlft.names import Artifact, Metric, Tag
from tlft.storage.files import sha256_of
from tlft.storage.journal import Entry, Journal
from tlft.tracking.client import find_run
from tlft.tracking.entries import ESSENTIAL, describe, for_people, halves, is_refusal, kind_of, send
from tlft.tracking.run_folder import RunFolder
from tlft.tracking.server import reason_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

log = logging.getLogger(__name__)

_PAUSE_SECONDS = 20.0
_PAUSE_FACTOR = 10  # of what a question took that was not answered, until the next one: the training goes on
_LONGEST_LIST = 1000  # characters of what was refused, in a tag


class RefusedError(TlftError):
    """Say that the store refuses for good what a run is not complete without."""


class ActiveRun:
    """A run that is being computed.

    Attributes:
        resumed: whether it goes on with what an earlier process began.
        refusal: what the store said when it last took nothing, in a line.
        started: when it began, or when this process began to go on with it (monotonic clock, seconds).
        seconds: from then until it was done, which is the duration that MLflow shows of a run that was never resumed.
        confirm: raises ClaimLostError once the run is another process's; called before anything is written of it.
    """

    def __init__(
        self,
        client: MlflowClient,
        run: Run,
        folder: RunFolder,
        *,
        resumed: bool = False,
        confirm: Callable[[], None] = lambda: None,
    ) -> None:
        self.run_id: str = run.info.run_id
        self.name: str = run.info.run_name
        self.resumed = resumed
        self.confirm = confirm
        self.refusal = ""
        age = 0.0 if resumed else max(0, _now() - run.info.start_time) / 1000
        self.started, self.seconds = time.monotonic() - age, 0.0
        self.folder = folder
        self.journal = Journal(folder.path, confirm)
        self._client, self._run = client, run
        self._not_before = 0.0
        self._ended = False

    def log_params(self, params: Mapping[str, str]) -> None:
        """Log the scientific configuration; it never changes during a run."""
        shown, hidden = for_people(params)
        if hidden:
            self.journal.append_once("whole_params", hidden)
        self.journal.append_once("params", shown)

    def log_inputs(self, name: str, source: str, digests: Mapping[str, str]) -> None:
        """Log the data set, each split with its digest, as what the run has read."""
        self.journal.append_once("inputs", {"name": name, "source": source, "digests": dict(digests)})

    def log_tags(self, tags: Mapping[str, str]) -> None:
        """Log facts about the machine, or words of the user's."""
        self.journal.append(tags=dict(tags))

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0, *, with_system: bool = False) -> None:
        """Log figures under one step; with those of the machine at this moment if asked for."""
        system = self._measure_system() if with_system else {}
        self.journal.append_metrics({**metrics, **system}, step, _now())

    def history(self, name: str) -> list[tuple[int, float]]:
        """Return what was logged of a metric, also before the run was interrupted: (step, value)."""
        return [(e["step"], e["metrics"][name]) for e in self.journal.entries if name in e.get("metrics", {})]

    def log_model(self, description: Mapping[str, Any]) -> None:
        """Log a model that `mlflow.pyfunc.load_model` loads; the run's files, which hold its weights, come first."""
        self.journal.append_once("model", dict(description))

    @contextmanager
    def writing_files(self) -> Iterator[Path]:
        """Yield an empty folder; the files that are there at the end of the block are the run's."""
        self.confirm()
        beside = self.folder.path / "files.tmp"
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        yield beside
        self.confirm()
        shutil.rmtree(self.folder.files, ignore_errors=True)
        beside.rename(self.folder.files)
        files = {
            str(path.relative_to(self.folder.files)): [path.stat().st_size, sha256_of(path)]
            for path in sorted(self.folder.files.rglob("*"))
            if path.is_file()
        }
        self.journal.append(files=True)
        self.log_tags({Tag.FILES: json.dumps(files)})

    def deliver(self, *, at_once: bool = False) -> bool:
        """Send the store what it has not got yet; tells whether it has everything now.

        A store that does not answer is said once and asked again later: it must not stop a training. What it refuses
        for good is put aside, so that it does not hold back what follows.

        Raises:
            RunDeletedError: if somebody deleted the run meanwhile.
            ClaimLostError: if somebody has taken it over.
            RefusedError: if it refuses what the run is not complete without.
        """
        if not at_once and time.monotonic() < self._not_before:
            return False
        started = time.monotonic()
        try:
            for entries in self.journal.undelivered():
                self._send(entries)
        except (ClaimLostError, RunDeletedError, RefusedError):
            raise
        except Exception as error:  # whatever MLflow, its database or its server raise
            if getattr(error, "error_code", "") in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"):
                self._is_there()  # a store that does not answer is not asked once more
            self.refusal = reason_of(error)
            if not self._not_before:
                log.warning("the tracking store takes nothing now (%s); it is kept and delivered later", self.refusal)
            now = time.monotonic()
            self._not_before = now + max(_PAUSE_SECONDS, _PAUSE_FACTOR * (now - started))
            return False
        if self._not_before:
            log.info("the tracking store is back and has everything")
        self._not_before = 0.0
        return True

    def _send(self, entries: list[Entry]) -> None:
        """Send entries that go together; of what is refused as a whole those parts that are taken alone."""
        try:
            send(self._client, self._run, self.folder, entries)
        except Exception as error:
            if not is_refusal(error, kind_of(entries[0])) or not self._is_there():
                raise
            middle = len(entries) // 2
            parts = [entries[:middle], entries[middle:]] if middle else [[half] for half in halves(entries[0])]
            for part in parts:
                self._send(part)
            if not parts:
                self._put_aside(entries[0], reason_of(error))

    def _put_aside(self, entry: Entry, reason: str) -> None:
        """Keep with the run's files what the store refuses for good, and name it in a tag and a line of the log."""
        if kind_of(entry) in ESSENTIAL:
            raise RefusedError(
                f"run {self.run_id}: the tracking store refuses {describe(entry)} ({reason}), without which the run is "
                f"not complete; mend that, then {invocation('sync')}, or the same command again"
            )
        refused, is_new = self.folder.put_aside(entry, reason)
        listed = f"{len(refused)}: {', '.join(describe(other) for other in refused)}"
        try:
            self._client.log_artifact(self.run_id, str(self.folder.refused))
            self._client.set_tag(self.run_id, Tag.REFUSED, listed[:_LONGEST_LIST])
        except Exception as error:
            if is_refusal(error):
                raise RefusedError(
                    f"run {self.run_id}: the tracking store takes no files ({reason_of(error)})"
                ) from error
            raise
        if is_new:
            log.warning(
                "the tracking store refuses %s (%s); it is kept in %s among the run's files",
                describe(entry),
                reason,
                Artifact.REFUSED,
            )

    def _is_there(self) -> bool:
        """Tell whether the store still has the run; False if it does not answer.

        Raises:
            RunDeletedError: if somebody deleted the run.
        """
        try:
            run = find_run(self._client, self.run_id)
        except Exception as error:  # it was there a moment ago
            log.debug("run %s: %s", self.run_id, error)
            return False
        if run is None or run.info.lifecycle_stage == "deleted":
            raise RunDeletedError(
                f"run {self.run_id} was deleted in MLflow while it was computed; the same command begins a new run, or "
                "goes on with this one if it is restored there first"
            )
        return True

    def finish(self) -> bool:
        """Say that the run is FINISHED; tells whether the store knows, or will be told later.

        Raises:
            RefusedError: if the store refuses what the run is not complete without; the run is then FAILED.
        """
        if not self.journal.has("end"):
            now, self.seconds = _now(), time.monotonic() - self.started
            self.log_tags({Tag.SECONDS: f"{self.seconds:.3f}"})
            self.journal.append(end="FINISHED", time=now)
        self._ended = True
        try:
            complete = self.deliver(at_once=True)
        except RefusedError:
            with suppress(Exception):  # it was said already what is wrong
                self._client.set_terminated(self.run_id, "FAILED")
            raise
        if complete:
            self.confirm()
            self.folder.remove()
            return True
        log.warning(
            "run %s is done, but the tracking store has not got all of it; `%s` delivers the rest, "
            "and so does the same command",
            self.run_id,
            invocation("sync"),
        )
        return False

    def stop(self, status: str, traceback: str = "", *, diverged: bool = False) -> None:
        """Say that the run is KILLED or FAILED; what cannot be said is logged, since it may itself tell of a fault.

        A run that was FINISHED stays so, and what the store has not got of it is delivered by the next start.
        """
        if self._ended:
            return
        try:
            self.confirm()
            answers = self.deliver(at_once=True)
        except RefusedError:
            answers = True
        except ClaimLostError:  # it is for whoever has it now to say
            return
        if not answers:  # to ask for more would only take more time, and Slurm gives little
            log.warning("run %s could not be marked %s: %s", self.run_id, status, self.refusal)
            return
        try:
            if traceback:
                self._client.log_text(self.run_id, without_passwords(traceback), Artifact.TRACEBACK)
            if diverged:
                self._client.set_tag(self.run_id, Tag.DIVERGED, "true")
            self._client.set_terminated(self.run_id, status)
            if diverged:
                self.folder.remove()
        except Exception as error:
            log.warning("run %s could not be marked %s: %s", self.run_id, status, error)

    def _measure_system(self) -> dict[str, float]:
        """Ask MLflow's own monitors; they are asked at the end of each epoch, so that their figures have its step."""
        figures: dict[str, float] = {}
        for monitor in self._monitors:
            monitor.collect_metrics()
            figures |= {Metric.SYSTEM + name: value for name, value in monitor.aggregate_metrics().items()}
            monitor.clear_metrics()
        return figures

    @cached_property
    def _monitors(self) -> list[Any]:
        from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
        from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor

        monitors: list[Any] = [CPUMonitor(), DiskMonitor()]  # type: ignore[no-untyped-call]
        if shutil.which("nvidia-smi"):
            from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

            try:
                monitors.append(GPUMonitor())  # type: ignore[no-untyped-call]
            except Exception as error:
                log.debug("no figures of the GPU: %s", error)
        return monitors


def _now() -> int:
    return int(time.time() * 1000)
