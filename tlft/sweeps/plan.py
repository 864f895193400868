"""Say what a sweep will do before it does anything: which jobs are done, begun, new, or in other hands.

Nothing is run here, and nothing heavy is imported.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tlft.config.schema import Config
from tlft.runs.identify import Identity, identify, run_name
from tlft.runtime.environment import source_state
from tlft.sweeps.estimate import describe_cost
from tlft.tracking.claimed_run import tidy
from tlft.tracking.records import Outcome
from tlft.tracking.server import wait_for_server
from tlft.tracking.store import Store

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class PlannedJob:
    """A job and what is known of it before it starts.

    Attributes:
        status: `done`, `new`, `unfinished`, `elsewhere` (another process works on it), or `same` (as `same_as`).
        outcome: of the run that is done already.
    """

    number: int
    config: Config
    identity: Identity
    status: str
    store: Store
    outcome: Outcome | None = None
    same_as: int | None = None


def plan_jobs(configs: Sequence[Config]) -> list[PlannedJob]:
    """Identify every job and look up which are done; data is fetched if it is not here."""
    jobs: list[PlannedJob] = []
    stores: dict[str, Store] = {}
    datasets: dict[str, Any] = {}
    first: dict[tuple[str, str], int] = {}
    for uri in dict.fromkeys(config.tracking.uri or "" for config in configs):
        wait_for_server(uri)  # before anything that takes long
    for number, config in enumerate(configs):
        data_key = repr((config.data, config.home))
        identity = identify(config, datasets.get(data_key))
        datasets[data_key] = identity.dataset
        store_key = repr((config.tracking.uri, config.experiment, config.home))
        if store_key not in stores:
            stores[store_key] = Store(config)
            stores[store_key].end_lost_runs()
        store = stores[store_key]
        job = PlannedJob(number, config, identity, "new", store)
        owner = first.setdefault((store_key, identity.key), number)
        if owner != number:
            job = replace(job, status="same", same_as=owner)
        elif not config.anew and (done := store.finished(identity.key)):
            job = replace(job, status="done", outcome=done)
            tidy(store, identity.key)
        elif store.owner(identity.key) is not None:
            job = replace(job, status="elsewhere")
        elif store.unfinished(identity.key) is not None:
            job = replace(job, status="unfinished")
        jobs.append(job)
    return jobs


def describe_plan(jobs: Sequence[PlannedJob], *, on_all_cores: bool = False) -> str:
    """Say the plan in a line, such as `9 jobs: 3 done, 6 new, about 14 min, 1.2 GB`; times and sizes are estimates.

    Args:
        jobs: all of the sweep.
        on_all_cores: jobs run beside each other on this machine.
    """
    counts = Counter(job.status for job in jobs)
    commit = source_state().commit
    done = [job.outcome for job in jobs if job.outcome is not None]
    older = sum(outcome.dirty or outcome.commit != commit for outcome in done)
    words = {
        "done": "done" + (f" ({older} by older or dirty code)" if older else ""),
        "elsewhere": "running elsewhere",
        "same": "the same as another",
        "unfinished": "to resume",
        "new": "new",
    }
    listed = ", ".join(f"{counts[status]} {text}" for status, text in words.items() if counts[status])
    todo = [job for job in jobs if job.status in ("new", "unfinished")]
    cost = describe_cost(todo, on_all_cores=on_all_cores)
    return f"{len(jobs)} job{'s' if len(jobs) != 1 else ''}: {listed}{cost}"


def wait_for(jobs: Sequence[PlannedJob]) -> None:
    """Wait until nobody works on the runs of some jobs any more."""
    log.info("waiting for %d runs that others work on", len(jobs))
    for job in jobs:
        while job.store.owner(job.identity.key) is not None:
            time.sleep(_LOOK_SECONDS)


def print_plan(configs: Sequence[Config]) -> None:
    """Print what would run, and run nothing."""
    jobs = plan_jobs(configs)
    print(describe_plan(jobs))
    print_jobs(jobs)


def print_jobs(jobs: Sequence[PlannedJob]) -> None:
    """Print a line for each job."""
    for job in jobs:
        detail = ""
        if job.outcome is not None:
            detail = f", run {job.outcome.run_id}, accuracy {100 * job.outcome.score:.3f} %"
        elif job.same_as is not None:
            detail = f" as job {job.same_as}"
        print(f"  job {job.number}: {job.status}{detail}: {run_name(job.config)} on {job.identity.dataset.name}")
