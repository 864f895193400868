"""What a launcher orders, and how one job of a sweep is done: in this process, or in one that is there for it alone.

How a job gets its process is the launcher's story; what it does is the story of `tlft.runs.hydra_job`.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

from hydra.core.utils import setup_globals

from tlft.config.hydra_internals import run_task
from tlft.config.paths import PROJECT
from tlft.config.schema import Config
from tlft.config.typed import register, with_values
from tlft.errors import without_passwords
from tlft.planning.jobs import Job
from tlft.records.outcome import Outcome, RunStatus
from tlft.runs.context import SweepMembership
from tlft.runs.hydra_job import JobError, read_outcome, run_job, write_outcome
from tlft.runtime import device, memory, signals
from tlft.terminal import progress
from tlft.terminal.command_line import print_into, write_to_any_terminal

log = logging.getLogger(__name__)

OUTPUT_FILE = "output.log"
PROGRESS_FILE = "progress.json"

OnSubmit = Callable[[int, str], None]
"""Is told the number of a job that waits in a queue, and its id there."""


@dataclass(frozen=True)
class JobOrder:
    """All that a process needs to do one job of a sweep; it can be pickled.

    Attributes:
        sweep_folder: holds a folder for each job, which has its number in the whole sweep.
        expected: seconds that the job will take of the whole machine, if earlier runs tell.
        memory: bytes that the job may hold, if others run beside it.
        cores: that it and those beside it may use together.
    """

    job: Job
    sweep_folder: Path
    sweep: SweepMembership
    expected: float | None = None
    memory: int | None = None
    cores: int | None = None

    @property
    def folder(self) -> Path:
        """Of the job's output."""
        return self.sweep_folder / str(self.job.number)

    def with_threads(self, threads: int) -> JobOrder:
        """Return the order with a number of threads, unless the job was asked to have another."""
        config = self.job.config
        return replace(self, job=replace(self.job, config=replace(config, threads=config.threads or threads)))


def stops_on_failure(orders: Sequence[JobOrder]) -> bool:
    """Tell whether no more jobs are started once one has failed."""
    return orders[0].job.config.sweep.on_failure == "stop"


def common_threads(configs: Sequence[Config]) -> int | None:
    """Return the threads that every job was asked to have; None if nobody asked, or for different numbers."""
    threads = {config.threads for config in configs}
    return threads.pop() if len(threads) == 1 else None


def perform(order: JobOrder) -> None:
    """Do one job in this process.

    Raises:
        JobError: if it failed, after it was said why.
        Exception: whatever only a traceback explains.
    """
    config, number = order.job.config, order.job.number
    values = {
        "hydra.sweep.dir": str(order.sweep_folder),
        "hydra.sweep.subdir": str(number),
        "hydra.job.num": number,
        "hydra.job.id": str(number),
        "threads": config.threads,
    }
    run_task(partial(run_job, config=config, sweep=order.sweep), with_values(order.job.composition(), values), "sweep")


@cache
def _prepare_process() -> None:
    """Make this process one that does jobs alone: once, since what a signal has asked for is not forgotten."""
    write_to_any_terminal()
    signals.listen()
    register()
    setup_globals()


def perform_alone(order: JobOrder) -> None:
    """Do one job in this process, which does nothing else meanwhile; all that it prints goes into its folder.

    Raises:
        SystemExit: with status 1 if the job failed; it was said why.
    """
    order.folder.mkdir(parents=True, exist_ok=True)
    print_into(order.folder / OUTPUT_FILE)
    _prepare_process()
    progress.report_to(order.folder / PROGRESS_FILE)
    memory.set_share(order.memory)
    device.share_cores(order.cores)
    try:
        perform(order)
    except Exception as error:
        if not isinstance(error, JobError):
            sys.stderr.write(without_passwords(traceback.format_exc()))
        sys.exit(1)


def python_path() -> str:
    """Return the PYTHONPATH with which another process finds this very copy of tlft, wherever it is started."""
    return os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))


def log_end(order: JobOrder, cause: Callable[[], str]) -> bool:
    """Say how a job has ended, in a line; tells whether it has failed.

    `cause` is asked what ended a process that could not say it itself.
    """
    outcome = read_outcome(order.folder) or Outcome(RunStatus.RUNNING)
    if outcome.status == RunStatus.RUNNING:
        outcome = replace(outcome, status=RunStatus.FAILED, error=cause())
        write_outcome(order.folder, outcome)
    score = f", accuracy {100 * outcome.score:.3f} %" if outcome.score is not None else ""
    error = f": {outcome.error}" if outcome.error else ""
    log.info("job %d: %s%s%s, %.1f s", order.job.number, outcome.status.label, score, error, outcome.seconds)
    return outcome.status == RunStatus.FAILED
