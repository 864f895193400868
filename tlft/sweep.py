"""A sweep as a whole: compose every job once, refuse or plan it, run what is new, and sum up.

How a single job runs is job.py's story; how jobs get their processes is the launcher's.
"""

from __future__ import annotations

import copy
import json
import logging
import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.config_loader import ConfigLoader
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf, open_dict

from tlft.compose import COMPOSITION_ERRORS, Composer
from tlft.config import Config, to_config
from tlft.errors import ConfigurationError, TlftError
from tlft.experiment import Identity, identify, run_name
from tlft.job import OUTCOME_FILE
from tlft.machine import source_state
from tlft.note import refresh_note
from tlft.outputs import claim_hydra_folder
from tlft.preflight import exit_with, problems_of
from tlft.records import Outcome
from tlft.tracking import Store, load_records

log = logging.getLogger(__name__)


class ComposedOnce:
    """Stand in for Hydra's config loader: a job's configuration is composed once, whatever is edited meanwhile.

    Hydra's launchers compose each job again when they start it (hydra#1945).
    """

    def __init__(self, loader: ConfigLoader) -> None:
        self.loader = loader
        self.composed: dict[tuple[str, ...], DictConfig] = {}

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """Return a copy of the job's configuration, composed at the first call."""
        key = tuple(sweep_overrides)
        if key not in self.composed:
            self.composed[key] = self.loader.load_sweep_config(master_config, list(sweep_overrides))
        return copy.deepcopy(self.composed[key])

    def __getattr__(self, name: str) -> Any:
        if name == "loader":  # not there yet while a pickled copy is being made
            raise AttributeError(name)
        return getattr(self.loader, name)


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
    outcome: Outcome | None = None
    same_as: int | None = None


@dataclass(frozen=True)
class Result:
    """What became of a job, for the summary."""

    job: PlannedJob
    status: str
    run_id: str = ""
    score: float | None = None
    seconds: float = 0.0
    error: str = ""
    folder: Path | None = None


def run_sweep(master: DictConfig, overrides: list[list[str]], composed: ComposedOnce, launcher: Launcher) -> NoReturn:
    """Compose, check, plan, launch and sum up; leave with status 0 only if every job is done."""
    try:
        configs = _compose_jobs(master, overrides, composed)
        jobs = plan_jobs(configs)
    except ConfigurationError as error:
        exit_with(error)
    except TlftError as error:
        log.error("failed: %s", error)
        sys.exit(1)
    print(describe_plan(jobs), flush=True)
    if configs[0].plan:
        _print_jobs(jobs)
        sys.exit(0)
    todo = [job for job in jobs if job.status in ("new", "unfinished")]
    results: list[Result] = []
    interrupted: BaseException | None = None
    if todo:
        claim_hydra_folder(master, "sweep")
        folder = Path(master.hydra.sweep.dir)
        OmegaConf.save(master, folder / "multirun.yaml")
        launched = [overrides[job.number] for job in todo]
        with _summed_up_after_interrupts() as stopped:
            _launch(launcher, launched, [job.number for job in todo], composed, folder)
        interrupted = stopped[0] if stopped else None
        results = [_read_result(job, folder / str(job.number)) for job in todo]
    results = _all_results(jobs, results)
    _sum_up(jobs, results)
    if interrupted is not None:
        sys.exit(130 if isinstance(interrupted, KeyboardInterrupt) else interrupted.code or 143)  # type: ignore[attr-defined]
    sys.exit(0 if all(result.status in ("done", "skipped") for result in results) else 1)


def plan_jobs(configs: Sequence[Config]) -> list[PlannedJob]:
    """Identify every job and look up which are done; data is fetched if it is not here."""
    jobs: list[PlannedJob] = []
    stores: dict[str, Store] = {}
    datasets: dict[str, Any] = {}
    first: dict[tuple[str, str], int] = {}
    for number, config in enumerate(configs):
        data_key = repr((config.data, config.home))
        identity = identify(config, datasets.get(data_key))
        datasets[data_key] = identity.dataset
        store_key = repr((config.tracking.uri, config.experiment, config.home))
        if store_key not in stores:
            stores[store_key] = Store(config)
        job = PlannedJob(number, config, identity, "new")
        owner = first.setdefault((store_key, identity.key), number)
        if owner != number:
            job = replace(job, status="same", same_as=owner)
        elif not (config.force or config.debug) and (done := stores[store_key].finished(identity.key)):
            job = replace(job, status="done", outcome=done)
        elif stores[store_key].owner(identity.key) is not None:
            job = replace(job, status="elsewhere")
        elif stores[store_key].unfinished(identity.key) is not None:
            job = replace(job, status="unfinished")
        jobs.append(job)
    return jobs


def describe_plan(jobs: Sequence[PlannedJob]) -> str:
    """Say the plan in a line, such as `9 jobs: 3 done, 6 new`."""
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
    return f"{len(jobs)} job{'s' if len(jobs) != 1 else ''}: {listed}"


def print_plan(configs: Sequence[Config]) -> None:
    """Print what would run, and run nothing."""
    jobs = plan_jobs(configs)
    print(describe_plan(jobs))
    _print_jobs(jobs)


def _print_jobs(jobs: Sequence[PlannedJob]) -> None:
    for job in jobs:
        detail = ""
        if job.outcome is not None:
            detail = f", run {job.outcome.run_id}, accuracy {100 * job.outcome.score:.3f} %"
        elif job.same_as is not None:
            detail = f" as job {job.same_as}"
        print(f"  job {job.number}: {job.status}{detail}: {run_name(job.config)} on {job.identity.dataset.name}")


def _compose_jobs(master: DictConfig, overrides: list[list[str]], composed: ComposedOnce) -> list[Config]:
    """Compose every job.

    Raises:
        ConfigurationError: with each problem once, and the jobs that have it.
    """
    blamed: dict[str, list[int]] = {}
    configs: list[Config] = []
    for number, texts in enumerate(overrides):
        try:
            cfg = composed.load_sweep_config(master, texts)
            problems = problems_of(cfg)
        except COMPOSITION_ERRORS as error:
            problems, _ = Composer().explain(texts, error)
        for problem in problems:
            blamed.setdefault(problem, []).append(number)
        if not problems:
            configs.append(to_config(cfg))
    if blamed:
        raise ConfigurationError(
            problem if len(numbers) == len(overrides) else f"{_name_jobs(numbers)}: {problem}"
            for problem, numbers in blamed.items()
        )
    return configs


def _name_jobs(numbers: Sequence[int]) -> str:
    listed = ", ".join(map(str, numbers[:6])) + (" ..." if len(numbers) > 6 else "")
    return f"job{'s' if len(numbers) > 1 else ''} {listed}"


def _launch(
    launcher: Launcher, overrides: list[list[str]], numbers: list[int], composed: ComposedOnce, folder: Path
) -> None:
    """Launch the jobs that are new, each in the folder that has its number in the whole sweep."""
    for texts, number in zip(overrides, numbers, strict=True):
        with open_dict(composed.composed[tuple(texts)]):
            composed.composed[tuple(texts)].hydra.sweep.dir = str(folder)
            composed.composed[tuple(texts)].hydra.sweep.subdir = str(number)
    launcher.launch(overrides, initial_job_idx=0)


@contextmanager
def _summed_up_after_interrupts() -> Iterator[list[BaseException]]:
    """Catch what ends a sweep before its end, since the summary is owed all the same."""
    stopped: list[BaseException] = []
    try:
        yield stopped
    except (KeyboardInterrupt, SystemExit) as error:
        stopped.append(error)


def _read_result(job: PlannedJob, folder: Path) -> Result:
    try:
        told = json.loads((folder / OUTCOME_FILE).read_text())
    except (OSError, ValueError):
        return Result(job, "not started", folder=folder)
    if told["status"] == "running":
        told["status"] = "interrupted"
    return Result(job, folder=folder, **told)


def _all_results(jobs: Sequence[PlannedJob], launched: Sequence[Result]) -> list[Result]:
    by_number = {result.job.number: result for result in launched}
    for job in jobs:
        if job.outcome is not None:
            by_number[job.number] = Result(job, "skipped", job.outcome.run_id, job.outcome.score, job.outcome.seconds)
        elif job.status == "elsewhere":
            by_number[job.number] = Result(job, "elsewhere")
        elif job.same_as is not None:
            by_number[job.number] = replace(by_number[job.same_as], job=job)
    return [by_number[job.number] for job in jobs]


def _sum_up(jobs: Sequence[PlannedJob], results: Sequence[Result]) -> None:
    """Print a line per job and the table of this sweep's runs, and refresh the experiment's note."""
    from analysis.table import build_table, render

    _print_results(results)
    config = jobs[0].config
    ids = {result.run_id for result in results}
    try:
        records = [r for r in load_records(config.experiment, config.tracking.uri, config.home) if r.run_id in ids]
    except TlftError as error:
        log.warning("the table could not be made: %s", error)
        return
    table = build_table(records, command=shlex.join(["python", "run.py", *sys.argv[1:]]))
    if table.rows:
        print()
        print(render(table, "terminal"))
    refresh_note(config)


_WORDS = {"skipped": "done before", "elsewhere": "running elsewhere"}


def _print_results(results: Sequence[Result]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("job", "run", "status", "accuracy", "time", "run id"):
        table.add_column(title, justify="right" if title in ("accuracy", "time") else "left", no_wrap=title != "run")
    for result in results:
        job = result.job
        status = _WORDS.get(result.status, result.status)
        if job.same_as is not None:
            status += f" (same as job {job.same_as})"
        accuracy = "-" if result.score is None else f"{100 * result.score:.3f} %"
        seconds = f"{result.seconds:.1f} s" if result.seconds else "-"
        table.add_row(str(job.number), run_name(job.config), status, accuracy, seconds, result.run_id or "-")
    console = Console() if sys.stdout.isatty() else Console(width=140)
    with console.capture() as captured:
        console.print(table)
    print("\n".join(line.rstrip() for line in captured.get().splitlines() if line.strip()))
    for result in results:
        if result.error and result.job.same_as is None:
            print(f"job {result.job.number} failed: {result.error} (its log: {result.folder})")
