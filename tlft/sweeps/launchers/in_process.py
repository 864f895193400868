"""Do the jobs of a sweep in this very process, one after the other.

Hydra's `basic` launcher, but that it keeps nothing of a job that is over, and composes none again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress

from tlft.runs.hydra_job import read_outcome
from tlft.runtime import signals
from tlft.sweeps.jobs import PlannedJob
from tlft.sweeps.launchers.worker import JobOrder, OnSubmit, perform, stops_on_failure
from tlft.tracking.outcome import RunStatus

log = logging.getLogger(__name__)


def prepare(due: Sequence[PlannedJob]) -> str:
    """Say nothing: there is no choice."""
    return ""


def run_jobs(orders: Sequence[JobOrder], on_submit: OnSubmit) -> None:
    """Do every job; after one that fails the others have their turn, unless `sweep.on_failure` says no."""
    for order in orders:
        with suppress(Exception):  # it was said why, or the job's log has the traceback and the summary its last line
            perform(order)
        signals.stop_if_asked()  # by a signal in the moment in which the job has ended
        outcome = read_outcome(order.folder)
        if stops_on_failure(orders) and outcome is not None and outcome.status == RunStatus.FAILED:
            log.warning("sweep.on_failure=stop: the jobs after job %d are not started", order.job.number)
            return
