"""Do the jobs of a sweep in this very process, one after the other.

Hydra's `basic` launcher, but that it keeps nothing of a job that is over, and composes none again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from tlft.planning.jobs import PlannedJob
from tlft.records.outcome import RunStatus
from tlft.runs.hydra_job import read_outcome
from tlft.runtime import signals
from tlft.sweeps.forecast import Forecast
from tlft.sweeps.launchers.worker import JobOrder, OnSubmit, perform, stops_on_failure
from tlft.terminal.progress import overall_progress

log = logging.getLogger(__name__)


def prepare(due: Sequence[PlannedJob]) -> str:
    """Say nothing: there is no choice."""
    return ""


def begin() -> None:
    """Do nothing."""


def run_jobs(orders: Sequence[JobOrder], on_submit: OnSubmit) -> None:
    """Do every job; after one that fails the others have their turn, unless `sweep.on_failure` says no."""
    forecast = Forecast.of(orders)
    with overall_progress("sweep", forecast.total, "jobs") as show:
        for order in orders:
            started = time.monotonic()
            if forecast.total > 1:
                show(forecast.done, partial(_describe_left, forecast, order.job.number, started))
            with suppress(Exception):  # it was said why, or the job's log has the traceback and the summary a line
                perform(order)
            signals.stop_if_asked()  # by a signal in the moment in which the job has ended
            forecast.finish(order.job.number, time.monotonic() - started)
            outcome = read_outcome(order.folder)
            if stops_on_failure(orders) and outcome is not None and outcome.status == RunStatus.FAILED:
                log.warning("sweep.on_failure=stop: the jobs after job %d are not started", order.job.number)
                return


def _describe_left(forecast: Forecast, number: int, started: float, left: float | None) -> str:
    """Return what is left of the sweep, while a job runs that will take so many seconds more, if that is known."""
    if left is not None:
        forecast.advance(number, time.monotonic() - started, left)
    return forecast.describe_left()
