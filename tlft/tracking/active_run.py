"""A run that is being computed: what it logs goes to its journal first, and from there to MLflow."""

from __future__ import annotations

import json
import logging
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlft.errors import RunDeletedError
from tlft.names import Artifact, Metric, Tag
from tlft.runtime.files import sha256_of
from tlft.tracking.client import find_run
from tlft.tracking.journal import Entry, Journal
from tlft.tracking.pyfunc_model import log_model
from tlft.tracking.run_folder import RunFolder
from tlft.tracking.server import reason_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

log = logging.getLogger(__name__)

_PAUSE_SECONDS = 20.0
_PAUSE_FACTOR = 10  # of what a question took that was not answered, until the next one: the training goes on


class ActiveRun:
    """A run that is being computed.

    Attributes:
        resumed: whether it goes on with what an earlier process began.
        refusal: what the store said when it last took nothing, in a line.
        started: when this process began with it (monotonic clock, seconds).
    """

    def __init__(self, client: MlflowClient, run: Run, folder: RunFolder, *, resumed: bool = False) -> None:
        self.run_id: str = run.info.run_id
        self.name: str = run.info.run_name
        self.artifact_uri: str = run.info.artifact_uri
        self.resumed = resumed
        self.refusal = ""
        self.started = time.monotonic()
        self.folder = folder
        self.journal = Journal(folder.path)
        self._client = client
        self._experiment_id = run.info.experiment_id
        self._not_before = 0.0
        self._ended = False

    def log_params(self, params: Mapping[str, str]) -> None:
        """Log the scientific configuration; it never changes during a run."""
        self.journal.append_once("params", dict(params))

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

    def log_model(self, description: Mapping[str, Any]) -> None:
        """Log a model that `mlflow.pyfunc.load_model` loads; it refers to the weights that the run has logged."""
        self.journal.append_once("model", {**description, "weights": f"{self.artifact_uri}/{Artifact.WEIGHTS}"})

    @contextmanager
    def writing_files(self) -> Iterator[Path]:
        """Yield an empty folder; the files that are there at the end of the block are the run's."""
        beside = self.folder.path / "files.tmp"
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        yield beside
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

        A store that does not answer is said once and asked again later: it must not stop a training.

        Raises:
            RunDeletedError: if somebody deleted the run meanwhile.
        """
        if not at_once and time.monotonic() < self._not_before:
            return False
        started = time.monotonic()
        try:
            for entry in self.journal.undelivered():
                self._deliver(entry)
        except Exception as error:  # whatever MLflow, its database or its server raise
            self._stop_if_deleted(error)
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

    def _stop_if_deleted(self, refusal: Exception) -> None:
        if getattr(refusal, "error_code", "") not in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"):
            return  # a store that does not answer is not asked once more
        try:
            run = find_run(self._client, self.run_id)
        except Exception as error:  # it was there a moment ago
            log.debug("run %s: %s", self.run_id, error)
            return
        if run is None or run.info.lifecycle_stage == "deleted":
            raise RunDeletedError(
                f"run {self.run_id} was deleted in MLflow while it was computed; the same command begins a new run, or "
                "goes on with this one if it is restored there first"
            )

    def finish(self) -> bool:
        """Say that the run is FINISHED; tells whether the store knows, or will be told later."""
        if not self.journal.has("end"):
            self.log_tags({Tag.SECONDS: f"{time.monotonic() - self.started:.3f}"})
            self.journal.append(end="FINISHED", time=_now())
        self._ended = True
        if self.deliver(at_once=True):
            self.folder.remove()
            return True
        log.warning(
            "run %s is done, but the tracking store has not got all of it; `python -m tlft.sync` delivers the rest, "
            "and so does the same command",
            self.run_id,
        )
        return False

    def stop(self, status: str, traceback: str = "", *, diverged: bool = False) -> None:
        """Say that the run is KILLED or FAILED; what cannot be said is logged, since it may itself tell of a fault.

        A run that was FINISHED stays so, and what the store has not got of it is delivered by the next start.
        """
        if self._ended:
            return
        if not self.deliver(at_once=True):  # to ask for more would only take more time, and Slurm gives little
            log.warning("run %s could not be marked %s: %s", self.run_id, status, self.refusal)
            return
        try:
            if traceback:
                self._client.log_text(self.run_id, traceback, Artifact.TRACEBACK)
            if diverged:
                self._client.set_tag(self.run_id, Tag.DIVERGED, "true")
            self._client.set_terminated(self.run_id, status)
            if diverged:
                self.folder.remove()
        except Exception as error:
            log.warning("run %s could not be marked %s: %s", self.run_id, status, error)

    def _deliver(self, entry: Entry) -> None:
        """Send one entry; a second time it changes nothing."""
        from mlflow import entities

        if "metrics" in entry:
            time, step = entry["time"], entry["step"]
            metrics = [entities.Metric(name, value, time, step) for name, value in entry["metrics"].items()]
            self._client.log_batch(self.run_id, metrics=metrics)
        elif "params" in entry:
            self._client.log_batch(self.run_id, params=[entities.Param(*pair) for pair in entry["params"].items()])
        elif "tags" in entry:
            self._client.log_batch(self.run_id, tags=[entities.RunTag(*pair) for pair in entry["tags"].items()])
        elif "inputs" in entry:
            _log_inputs(self._client, self.run_id, **entry["inputs"])
        elif "files" in entry:
            self._client.log_artifacts(self.run_id, str(self.folder.files))
        elif "model" in entry:
            log_model(self._client, self._experiment_id, self.run_id, entry["model"])
        elif "end" in entry:
            self._client.set_terminated(self.run_id, entry["end"], entry["time"])

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


_LONGEST_DIGEST = 36  # in MLflow


def _log_inputs(client: MlflowClient, run_id: str, name: str, source: str, digests: Mapping[str, str]) -> None:
    """Log the data set; of runs that name a new one in the same moment MLflow refuses all but one: they ask again."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    place = json.dumps({"uri": source})
    inputs = [
        DatasetInput(Dataset(name, digest[:_LONGEST_DIGEST], "local", place), [InputTag(Tag.DATASET_SPLIT, split)])
        for split, digest in digests.items()
    ]
    for refusals_left in range(len(digests), -1, -1):  # each refusal tells of one that is there by now
        try:
            client.log_inputs(run_id, inputs)
            return
        except Exception as error:
            if not refusals_left or not re.search("unique|duplicate", str(error), re.IGNORECASE):
                raise


def _now() -> int:
    return int(time.time() * 1000)
