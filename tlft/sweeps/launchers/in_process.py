"""Do the jobs of a sweep in this very process, one after the other.

Hydra's `basic` launcher, but that it keeps nothing of a job that is over, and composes none again.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Sequence

from tlft.runs.hydra_job import JobError, read_outcome
from tlft.sweeps.launchers.worker import JobOrder, OnSubmit, perform, stops_on_failure
from tlft.tracking.outcome import RunStatus

log = logging.getLogger(__name__)


def run_jobs(orders: Sequence[JobOrder], on_submit: OnSubmit) -> None:
    """Do every job; after one that fails the others have their turn, unless `sweep.on_failure` says no."""
    for order in orders:
        try:
            perform(order)
        except JobError:
            pass  # it was said why
        except Exception:
            traceback.print_exc()
        outcome = read_outcome(order.folder)
        if stops_on_failure(orders) and outcome is not None and outcome.status == RunStatus.FAILED:
            log.warning("sweep.on_failure=stop: the jobs after job %d are not started", order.number)
            return
