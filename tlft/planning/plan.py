"""Say what a sweep will do before it does anything: which jobs are done, begun, new, or in other hands.

Nothing is run here, and nothing heavy is imported.
"""

from __future__ import annotations

import logging
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from tlft.config.data_schema import NEAR_DUPLICATES
from tlft.data.class_map import describe as describe_class_map
from tlft.data.dataset import Dataset
from tlft.names import Tag, flatten
from tlft.planning.estimate import describe_cost
from tlft.planning.job_table import JobLine, render_jobs
from tlft.planning.jobs import Job, PlannedJob
from tlft.records.outcome import Outcome, RunStatus
from tlft.runs.identify import Identity, identify, stated_facts
from tlft.runs.run_names import differing_settings, run_name
from tlft.runtime.environment import source_state
from tlft.terminal.line_breaks import fitting
from tlft.tracking.claimed_run import tidy
from tlft.tracking.done_before import is_new
from tlft.tracking.server import PATIENCE_SECONDS, StoreAwayError, wait_for_server
from tlft.tracking.store import Store

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
_DUE = (RunStatus.NEW, RunStatus.UNFINISHED)


def plan_jobs(jobs: Sequence[Job], begin: Callable[[], None] = lambda: None) -> list[PlannedJob]:
    """Identify every job and look up which are done; data is fetched if it is not here.

    `begin` is called as soon as it is certain that something is due.
    """
    for uri in dict.fromkeys(job.config.tracking.uri or "" for job in jobs):
        wait_for_server(uri)  # before anything that takes long
    identities = _identify(jobs)
    if is_new(jobs[-1].config, identities[-1].key):
        begin()
    stores: dict[str, Store] = {}
    distinct: dict[tuple[str, str], Job] = {}  # the first of each store and key
    for job, identity in zip(jobs, identities, strict=True):
        place = _place(job)
        if place not in stores:
            stores[place] = Store(job.config)
        distinct.setdefault((place, identity.key), job)
    looked_up: dict[tuple[str, str], tuple[RunStatus, Outcome | None]] = {}
    for place, store in stores.items():
        of_store = {key: job for (its_place, key), job in distinct.items() if its_place == place}
        statuses = _look_up(of_store, store)
        looked_up |= {(place, key): status for key, status in statuses.items()}
        # A run that goes on stays RUNNING, or another home that waits for it would begin it meanwhile.
        goes_on = not of_store[next(iter(of_store))].config.plan
        store.end_lost_runs([key for key, (status, _) in statuses.items() if goes_on and status in _DUE])
    planned = []
    for job, identity in zip(jobs, identities, strict=True):
        entry = (_place(job), identity.key)
        first, (status, outcome) = distinct[entry].number, looked_up[entry]
        if first == job.number:
            planned.append(PlannedJob(job, identity, stores[entry[0]], status, outcome))
        else:
            planned.append(PlannedJob(job, identity, stores[entry[0]], status, same_as=first))
    _warn_of_facts(planned)
    return planned


def _warn_of_facts(jobs: Sequence[PlannedJob]) -> None:
    """Say which runs done before keep what they state of their data, though another thing is stated now."""
    facts = [(stated_facts(job.config.data, job.identity.dataset), job.outcome.tags) for job in jobs if job.outcome]
    for tag, key in ((Tag.GROUPING, "data.group"), (Tag.ORIGIN, "data.origin")):
        changed = Counter(now.get(tag, "") for now, tags in facts if now.get(tag, "") != tags.get(tag, ""))
        for stated, count in changed.items():
            is_pattern = tag == Tag.GROUPING and stated not in ("", NEAR_DUPLICATES)
            by_table = f"analysis.table --group {shlex.quote(stated)} compares by this one, " if is_pattern else ""
            runs = "a run" if count == 1 else f"{count} runs"
            log.warning("%s done before stated another %s: %sforce=true makes it anew", runs, key, by_table)


def _place(job: Job) -> str:
    return repr((job.config.tracking.uri, job.config.tracking.experiment, job.config.home))


def _identify(jobs: Sequence[Job]) -> list[Identity]:
    """Say what each job computes; a folder is looked at once."""
    datasets: dict[str, Dataset] = {}
    identities = []
    for job in jobs:
        # The 1000-class head may leave classes out of its images.
        data_key = repr((job.config.data, job.config.home, job.config.head.name))
        identities.append(identify(job.config, datasets.get(data_key)))
        datasets[data_key] = identities[-1].dataset
    return identities


def _look_up(jobs: Mapping[str, Job], store: Store) -> dict[str, tuple[RunStatus, Outcome | None]]:
    """Say where the runs of some keys stand in their store; who works on them is asked for all together."""
    runs = store.runs_of(jobs.keys())
    outcomes = {key: store.finished(key, runs[key]) for key, job in jobs.items() if not job.config.force}
    at_work = store.at_work([key for key in jobs if outcomes.get(key) is None])
    statuses: dict[str, tuple[RunStatus, Outcome | None]] = {}
    for key in jobs:
        if (outcome := outcomes.get(key)) is not None:
            tidy(store, key)
            statuses[key] = RunStatus.SKIPPED, outcome
        elif key in at_work:
            statuses[key] = RunStatus.ELSEWHERE, None
        else:
            statuses[key] = (RunStatus.NEW if store.unfinished(key, runs[key]) is None else RunStatus.UNFINISHED), None
    return statuses


def describe_plan(jobs: Sequence[PlannedJob], *, on_all_cores: bool = False, here: bool = True) -> str:
    """Say the plan in a line, such as `9 jobs: 3 done before, 6 new, about 14 min, 1.2 GB`; see `describe_cost`."""
    counts = Counter(job.status for job in jobs if job.same_as is None)
    commit = source_state().commit
    done = [job.outcome for job in jobs if job.outcome is not None]
    older = sum(not outcome.is_of(commit) for outcome in done)
    parts = [
        (counts[RunStatus.SKIPPED], RunStatus.SKIPPED.label + (f" ({older} by older or dirty code)" if older else "")),
        (counts[RunStatus.ELSEWHERE], RunStatus.ELSEWHERE.label),
        (sum(job.same_as is not None for job in jobs), "the same as another"),
        (counts[RunStatus.UNFINISHED], RunStatus.UNFINISHED.label),
        (counts[RunStatus.NEW], RunStatus.NEW.label),
    ]
    listed = ", ".join(f"{count} {label}" for count, label in parts if count)
    cost = describe_cost([job for job in jobs if job.is_due], on_all_cores=on_all_cores, here=here)
    return f"{len(jobs)} job{'s' if len(jobs) != 1 else ''}: {listed}{cost}"


def wait_for(jobs: Sequence[PlannedJob]) -> None:
    """Wait until nobody works on the runs of some jobs any more."""
    log.info("waiting for %d runs that others work on", len(jobs))
    for job in jobs:
        while _is_at_work(job):
            time.sleep(_LOOK_SECONDS)


def _is_at_work(job: PlannedJob) -> bool:
    """Tell whether somebody works on the run of a job; a server that is away for a while is waited for."""
    try:
        return bool(job.store.at_work([job.identity.key]))
    except StoreAwayError:
        wait_for_server(job.config.tracking.uri or "", PATIENCE_SECONDS)
        return True


def words_of(jobs: Sequence[PlannedJob]) -> list[tuple[str, ...]]:
    """Return what tells each job from others, word by word: its name, settings that are swept, and its data set."""
    return [
        (*run_name(job.config).split(), *settings, f"on {job.identity.dataset.name}")
        for job, settings in zip(jobs, swept_settings(jobs), strict=True)
    ]


def swept_settings(jobs: Sequence[PlannedJob]) -> list[tuple[str, ...]]:
    """Return the settings of each job in which some jobs differ, such as `lr 0.1`; first those that not all have."""
    return differing_settings([flatten(job.identity.science) for job in jobs])


def print_jobs(jobs: Sequence[PlannedJob]) -> None:
    """Print a line for each job, and for each class map which outputs it has taken."""
    lines = [
        JobLine(
            number=job.number,
            words=words,
            status=job.status.label if job.same_as is None else f"same as job {job.same_as}",
            accuracy=None if job.outcome is None else job.outcome.score,
            seconds=0.0,
            run_id="" if job.outcome is None else job.outcome.run_id,
        )
        for job, words in zip(jobs, words_of(jobs), strict=True)
    ]
    print(render_jobs(lines))
    class_maps = [job.identity.label_space.class_map for job in jobs]
    for text in dict.fromkeys(describe_class_map(class_map) for class_map in class_maps if class_map):
        print(fitting(f"  class map: {text}", sys.stdout))
