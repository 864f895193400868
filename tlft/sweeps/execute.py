"""The engine of a sweep: launch what is due, wait for what others work on, and return what became of every job.

How jobs get their processes is the launcher's story; what is printed and which status a command ends with, the
plugin's. A search may call this in rounds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Protocol, runtime_checkable

from tlft.errors import TlftError
from tlft.planning.estimate import expected_seconds
from tlft.planning.jobs import PlannedJob, Result, name_jobs
from tlft.planning.plan import plan_jobs, wait_for
from tlft.records.outcome import Outcome, RunStatus
from tlft.runs.hydra_job import read_outcome
from tlft.sweeps.launchers.worker import JobOrder, OnSubmit
from tlft.sweeps.parent_run import SweepRun
from tlft.sweeps.prefetch import prefetch

log = logging.getLogger(__name__)


@runtime_checkable
class Launcher(Protocol):
    """What gives jobs their processes."""

    def prepare(self, due: Sequence[PlannedJob]) -> str:
        """Hear which jobs are due; returns what a plan says of how they will be done, or nothing."""

    def begin(self) -> None:
        """Hear that jobs will be run, while what they need is still fetched."""

    def run_jobs(self, orders: Sequence[JobOrder], on_submit: OnSubmit) -> None:
        """Do jobs, each of which leaves its outcome in its folder; return when none runs any more."""


class Interrupted(Exception):  # noqa: N818  (no error: somebody has told the sweep to stop)
    """Carry what became of the jobs of a sweep that was stopped before its end, and what stopped it."""

    def __init__(self, results: list[Result], cause: KeyboardInterrupt | SystemExit) -> None:
        self.results, self.cause = results, cause


def execute(
    planned: Sequence[PlannedJob], launcher: Launcher, sweep_run: SweepRun, claim_folder: Callable[[], Path]
) -> list[Result]:
    """Do the jobs of a sweep that are due, and return what became of each of all, in their order.

    `claim_folder` makes the folder of the sweep; it is called once something is to be launched.

    Raises:
        TlftError: if nothing was run and no job has what it needs.
        Interrupted: if this process was told to stop.
    """
    results: dict[int, Result] = {}
    claim_folder = cache(claim_folder)
    try:
        for round_ in _rounds(planned, results):
            planned = round_
            due = [job for job in planned if job.is_due and job.number not in results]
            if due:
                launcher.begin()
            if due := _prepare(due, results):
                _launch(due, launcher, sweep_run, claim_folder(), results)
    except (KeyboardInterrupt, SystemExit) as error:
        raise Interrupted(_complete(planned, results), error) from None
    return _complete(planned, results)


def _rounds(planned: Sequence[PlannedJob], results: dict[int, Result]) -> Iterator[Sequence[PlannedJob]]:
    """Yield the plan; and anew when runs that others worked on are free, if `resume.wait` says so."""
    yield planned
    while planned[0].config.resume.wait:
        numbers = [number for number, result in results.items() if result.outcome.status == RunStatus.ELSEWHERE]
        lost = [job for job in planned if job.number in numbers]
        elsewhere = [job for job in planned if job.status == RunStatus.ELSEWHERE and job.same_as is None]
        if not lost and not elsewhere:
            return
        wait_for([*lost, *elsewhere])
        for job in lost:  # to another process, between the plan and its start here
            del results[job.number]
        planned = plan_jobs([job.job for job in planned])
        yield planned


def _prepare(due: Sequence[PlannedJob], results: dict[int, Result]) -> list[PlannedJob]:
    """Fetch and decode what jobs need; returns those that have it, and puts down the others as failed.

    Raises:
        TlftError: if nothing was run yet and no job has what it needs.
    """
    errors = prefetch(due)
    if errors and len(errors) == len(due) and not results:
        raise next(iter(errors.values()))
    for error in dict.fromkeys(errors.values()):
        log.error("%s failed: %s", name_jobs([number for number in errors if errors[number] is error]), error)
    for job in due:
        if job.number in errors:
            reason = str(errors[job.number]).partition("\n")[0]
            results[job.number] = Result(job, Outcome(RunStatus.FAILED, error=reason))
    if errors and due[0].config.sweep.on_failure == "stop":
        log.warning("sweep.on_failure=stop: no job is started")
        return []
    return [job for job in due if job.number not in errors]


def _launch(
    due: Sequence[PlannedJob], launcher: Launcher, sweep_run: SweepRun, folder: Path, results: dict[int, Result]
) -> None:
    """Launch jobs, each in the folder that has its number in the whole sweep, and put down what became of them."""
    by_number = {job.number: job for job in due}
    seconds = expected_seconds(due, on_all_cores=True)
    orders = [
        JobOrder(job.job, folder, sweep_run.membership_of(job), expected)
        for job, expected in zip(due, seconds, strict=True)
    ]

    def mark_submitted(number: int, slurm_job: str) -> None:
        job = by_number[number]
        job.store.claim_of(job.identity.key).mark_submitted(slurm_job)

    try:
        launcher.run_jobs(orders, mark_submitted)
    except TlftError as error:  # such as a cluster that takes no jobs; what has become of each is read below
        log.error("failed: %s", error)
    finally:
        results |= {order.job.number: _read_result(by_number[order.job.number], order.folder) for order in orders}


def _read_result(planned: PlannedJob, folder: Path) -> Result:
    outcome = read_outcome(folder) or Outcome(RunStatus.NOT_STARTED)
    if outcome.status == RunStatus.RUNNING:
        outcome = replace(outcome, status=RunStatus.INTERRUPTED)
    return Result(planned, outcome, folder)


def _complete(planned: Sequence[PlannedJob], launched: dict[int, Result]) -> list[Result]:
    """Return a result for every job: also of those that were not launched, or are the same as another."""
    results = dict(launched)
    for job in planned:
        if job.same_as is not None:
            results[job.number] = replace(results[job.same_as], planned=job)
        elif job.number not in launched:
            status = job.status if job.status == RunStatus.ELSEWHERE else RunStatus.NOT_STARTED
            results[job.number] = Result(job, job.outcome or Outcome(status))
    return [results[job.number] for job in planned]
