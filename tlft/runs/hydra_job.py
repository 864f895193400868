"""One Hydra job: run the experiment, say how it ended in one line, and leave that for the sweep.

What the run does is the story of `tlft.runs.experiment`; what a sweep makes of its jobs, that of `tlft.sweeps`.
"""

from __future__ import annotations

import errno
import gc
import json
import logging
import os
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from tlft.config.addresses import hide_passwords
from tlft.config.hydra_internals import make_loader
from tlft.config.schema import Config
from tlft.errors import ConfigurationError, TlftError, one_line, out_of_memory
from tlft.names import Metric, short_id
from tlft.records.outcome import Outcome, RunStatus
from tlft.runs.context import SweepMembership
from tlft.runs.experiment import run_experiment
from tlft.runs.experiment_note import refresh_note
from tlft.runs.preflight import examine
from tlft.runs.replay import verify
from tlft.runtime import signals
from tlft.storage.files import atomic_write
from tlft.tracking.server import PATIENCE_SECONDS

log = logging.getLogger(__name__)

OUTCOME_FILE = "outcome.json"


class JobError(Exception):
    """Tell Hydra that a job of a sweep failed, after it was said why."""


def run_job(composed: DictConfig, config: Config, sweep: SweepMembership | None = None) -> float:
    """Do one run, and return its score.

    Hydra composed `composed`, here without its own node; `config` is the same, checked and resolved. A job that is
    told of no sweep is a single run.

    Raises:
        KeyboardInterrupt, SystemExit: when this process is told to stop.
        SystemExit: in a single run, with status 1 (failed), 2 (configuration) or 3 (left to another process).
        JobError: in a sweep, for the sweeper to count.
    """
    hydra = HydraConfig.get()
    report = _Report(Path(hydra.runtime.output_dir))
    try:
        # A sweep has found the store before its first job; one that is away for a while must not fail all that follow.
        patience = 0.0 if sweep is None else PATIENCE_SECONDS
        yaml = OmegaConf.to_yaml(composed, resolve=True)
        outcome = run_experiment(config, yaml, sweep, report.begun, patience, overrides=list(hydra.overrides.task))
    except (KeyboardInterrupt, signals.Stopped):
        signals.say_interrupted()
        report.write(RunStatus.INTERRUPTED)
        raise
    except BaseException as error:
        _log_traceback()
        if sweep is not None:
            _free_memory(error)
        if (explained := _explain(error, config)) is not None:
            return _failed(report, explained, sweep)
        report.write(RunStatus.FAILED, error=one_line(f"{type(error).__name__}: {error}"))
        raise
    _log_outcome(outcome)
    write_outcome(report.folder, outcome, os.getpid())
    signals.stop_if_asked()  # by a signal that came while the run was finished
    if outcome.status == RunStatus.ELSEWHERE and sweep is None:
        sys.exit(3)
    if outcome.status == RunStatus.DONE and sweep is None:
        refresh_note(config)  # a sweep does so once, at its end
    if config.verify and outcome.run_id and not verify(config, outcome.run_id):
        sys.exit(1)
    return float("nan") if outcome.score is None else outcome.score


def run_job_of_hydra(composed: DictConfig) -> float:
    """Do one run that Hydra itself has composed: for another sweeper than tlft's.

    Raises:
        SystemExit, JobError: as `run_job` does.
    """
    sweep = SweepMembership() if HydraConfig.get().mode == RunMode.MULTIRUN else None
    try:
        config = examine(hide_passwords(composed), make_loader())
    except ConfigurationError as error:
        return _failed(_Report(Path(HydraConfig.get().runtime.output_dir)), error, sweep)
    return run_job(composed, config, sweep)


class _Report:
    """Leave word of a job in its folder, for the sweep that started it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started = time.monotonic()
        self.begun("")

    def begun(self, run_id: str) -> None:
        """Hear the id of the job's run, if it has one yet."""
        self.run_id = run_id
        self.write(RunStatus.RUNNING)

    def write(self, status: RunStatus, error: str = "") -> None:
        """Write the file anew, for a job that has no outcome of its run."""
        outcome = Outcome(status, self.run_id, seconds=time.monotonic() - self.started, error=error)
        write_outcome(self.folder, outcome, os.getpid())


def write_outcome(folder: Path, outcome: Outcome, pid: int | None = None) -> None:
    """Leave an outcome in the folder of a job, with the process that does it; that it cannot be written is said."""
    content = outcome.to_dict() | ({} if pid is None else {"pid": pid})
    try:
        atomic_write(folder / OUTCOME_FILE, json.dumps(content).encode(), durable=pid is None)
    except TlftError as error:
        log.warning("%s", error)


def read_outcome(folder: Path) -> Outcome | None:
    """Return what a job has left in its folder; None if it has not begun. One that runs has run until now."""
    path = folder / OUTCOME_FILE
    try:
        outcome = Outcome.from_dict(json.loads(path.read_text()))
        if outcome.status == RunStatus.RUNNING:
            return replace(outcome, seconds=outcome.seconds + max(time.time() - path.stat().st_mtime, 0.0))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return outcome


def _log_outcome(outcome: Outcome) -> None:
    """Log the one line that ends a run."""
    if outcome.status == RunStatus.ELSEWHERE:
        log.info("running elsewhere: another process works on this very run; it is left to it")
        return
    accuracy = outcome.metrics.get(Metric.ACCURACY, float("nan"))
    text = f"{outcome.name}: accuracy {100 * accuracy:.3f} %, run {short_id(outcome.run_id)}, {outcome.seconds:.1f} s"
    skipped = outcome.status == RunStatus.SKIPPED
    log.info("done already: %s (force=true runs it again)" if skipped else "done: %s", text)


def _explain(error: BaseException, config: Config) -> TlftError | None:
    """Return the line that is said of what ended a job; None for what only a traceback explains."""
    if isinstance(error, TlftError):
        return error
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        mend = "free some space or set paths.home, and run the same command again"
        return TlftError(f"{error.filename or config.home}: the disk is full; {mend}")
    if reason := out_of_memory(error):
        size = config.training.batch_size
        mend = f"set training.batch_size below {size}" if config.training.epochs else "a smaller network needs less"
        return TlftError(f"out of memory: {reason}; {mend}")
    if isinstance(error, SystemExit):
        return TlftError(f"something in the run called sys.exit({error.code!r}); the job's log has the traceback")
    return None


def _free_memory(error: BaseException) -> None:
    """Free what the frames of a failure hold, a model and its batches: Hydra keeps a job's exception to the end."""
    link: BaseException | None = error
    while link is not None:
        traceback.clear_frames(link.__traceback__)
        link = link.__cause__ or link.__context__
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _failed(report: _Report, error: TlftError, sweep: SweepMembership | None) -> float:
    for line in str(error).splitlines():
        log.error("failed: %s", line)
    report.write(RunStatus.FAILED, error=str(error).partition("\n")[0])
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        raise error
    if sweep is not None:
        raise JobError(str(error)) from error
    sys.exit(2 if isinstance(error, ConfigurationError) else 1)


def _log_traceback() -> None:
    """Put the traceback into the job's own log file, which Hydra does not (hydra#2284)."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            record = log.makeRecord(log.name, logging.ERROR, __file__, 0, "traceback", (), sys.exc_info())
            handler.handle(record)
