"""A sweep as a whole: compose every job once, refuse or plan it, run what is not done, and have it summed up.

How a single job runs is job.py's story; how jobs get their processes is the launcher's.
"""

from __future__ import annotations

import copy
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, NoReturn, Protocol, runtime_checkable

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.config_loader import ConfigLoader
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf, open_dict

from tlft.config.compose import COMPOSITION_ERRORS, Composer
from tlft.config.output_dir import claim_hydra_folder
from tlft.config.schema import Config
from tlft.errors import ConfigurationError, TlftError
from tlft.runs.hydra_job import read_outcome
from tlft.runs.preflight import examine, exit_with
from tlft.sweeps.parent_run import SweepRun
from tlft.sweeps.plan import PlannedJob, describe_plan, plan_jobs, print_jobs, wait_for
from tlft.sweeps.prefetch import prepare
from tlft.sweeps.summary import Result, sum_up

log = logging.getLogger(__name__)


@runtime_checkable
class _Submits(Protocol):
    """A launcher whose jobs wait in the queue of a cluster."""

    on_submit: Callable[[int, str], None]


class ComposedOnce:
    """Stand in for Hydra's config loader: a job's configuration is composed once, whatever is edited meanwhile.

    Hydra's launchers compose each job again when they start it (hydra#1945).
    """

    def __init__(self, loader: ConfigLoader) -> None:
        self.loader = loader
        self.composed: dict[tuple[str, ...], DictConfig] = {}

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """Return a copy of the job's configuration, composed at the first call."""
        return copy.deepcopy(self.compose(master_config, sweep_overrides))

    def compose(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """Return the job's configuration itself, for looking only."""
        key = tuple(sweep_overrides)
        if key not in self.composed:
            self.composed[key] = self.loader.load_sweep_config(master_config, list(sweep_overrides))
        return self.composed[key]

    def __getattr__(self, name: str) -> Any:
        if name == "loader":  # not there yet while a pickled copy is being made
            raise AttributeError(name)
        return getattr(self.loader, name)


def run_sweep(master: DictConfig, overrides: list[list[str]], composed: ComposedOnce, launcher: Launcher) -> NoReturn:
    """Compose, check, plan, launch and sum up; leave with status 0 only if every job is done."""
    with _exiting_on_errors():
        configs = _compose_jobs(master, overrides, composed)
        jobs = plan_jobs(configs)
    beside = OmegaConf.select(master, "hydra.runtime.choices.hydra/launcher") == "parallel"
    print(describe_plan(jobs, on_all_cores=beside), flush=True)
    if configs[0].plan:
        print_jobs(jobs)
        sys.exit(0)
    results: dict[int, Result] = {}
    claim_folder = cache(partial(_claim_sweep_folder, master))  # a sweep with nothing to do has none
    sweep_run = SweepRun(jobs, OmegaConf.select(master, "hydra.runtime.choices.sweep"))
    with _exiting_on_errors(), _summed_up_after_interrupts() as stopped:
        for round_ in _rounds(configs, jobs, results):
            jobs = round_
            todo = [job for job in jobs if job.status in ("new", "unfinished") and job.number not in results]
            todo = _prepared(todo, results)
            _launch(claim_folder, launcher, todo, overrides, composed, results, sweep_run)
    all_results = _all_results(jobs, results)
    began = any(result.folder is not None for result in results.values())
    sum_up(all_results, overrides, Path(master.hydra.sweep.dir) if began else None, sweep_run)
    if stopped:
        sys.exit(130 if isinstance(stopped[0], KeyboardInterrupt) else stopped[0].code or 143)  # type: ignore[attr-defined]
    sys.exit(0 if all(result.status in ("done", "skipped") for result in all_results) else 1)


@contextmanager
def _exiting_on_errors() -> Iterator[None]:
    """Leave with a line for what nothing can be run with."""
    try:
        yield
    except ConfigurationError as error:
        exit_with(error)
    except TlftError as error:
        log.error("failed: %s", error)
        sys.exit(1)


def _rounds(
    configs: Sequence[Config], jobs: list[PlannedJob], results: dict[int, Result]
) -> Iterator[list[PlannedJob]]:
    """Yield the plan; and anew when runs that others worked on are free, if `resume.wait` says so."""
    yield jobs
    while configs[0].resume.wait:
        taken = [job for job in jobs if job.number in results and results[job.number].status == "elsewhere"]
        if not (others := taken + [job for job in jobs if job.status == "elsewhere"]):
            return
        wait_for(others)
        for job in taken:  # by another process, between the plan and its start here
            del results[job.number]
        jobs = plan_jobs(configs)
        yield jobs


def _compose_jobs(master: DictConfig, overrides: list[list[str]], composed: ComposedOnce) -> list[Config]:
    """Compose every job.

    Raises:
        ConfigurationError: with each problem once, and the jobs that have it.
    """
    blamed: dict[str, list[int]] = {}
    configs: list[Config] = []
    for number, texts in enumerate(overrides):
        problems: Sequence[str] = ()
        try:
            configs.append(examine(composed.compose(master, texts)))
        except ConfigurationError as error:
            problems = error.problems
        except COMPOSITION_ERRORS as error:
            problems, _ = Composer().explain(texts, error)
        for problem in problems:
            blamed.setdefault(problem, []).append(number)
    if blamed:
        raise ConfigurationError(
            problem if len(numbers) == len(overrides) else f"{_name_jobs(numbers)}: {problem}"
            for problem, numbers in blamed.items()
        )
    return configs


def _name_jobs(numbers: Sequence[int]) -> str:
    listed = ", ".join(map(str, numbers[:6])) + (" ..." if len(numbers) > 6 else "")
    return f"job{'s' if len(numbers) > 1 else ''} {listed}"


def _prepared(todo: Sequence[PlannedJob], results: dict[int, Result]) -> list[PlannedJob]:
    """Fetch and decode what jobs need; returns those that have it, and puts down the others as failed.

    Raises:
        TlftError: if nothing was run yet and no job has what it needs.
    """
    failed = prepare(todo)
    if failed and len(failed) == len(todo) and not results:
        raise next(iter(failed.values()))
    for error in dict.fromkeys(failed.values()):
        log.error("%s failed: %s", _name_jobs([number for number in failed if failed[number] is error]), error)
    results |= {
        job.number: Result(job, "failed", error=str(failed[job.number]).partition("\n")[0])
        for job in todo
        if job.number in failed
    }
    if failed and todo[0].config.sweep.on_failure == "stop":
        log.warning("sweep.on_failure=stop: no job is started")
        return []
    return [job for job in todo if job.number not in failed]


def _claim_sweep_folder(master: DictConfig) -> Path:
    claim_hydra_folder(master, "sweep")
    folder = Path(master.hydra.sweep.dir)
    OmegaConf.save(master, folder / "multirun.yaml")
    return folder


def _launch(
    claim_folder: Callable[[], Path],
    launcher: Launcher,
    todo: Sequence[PlannedJob],
    overrides: list[list[str]],
    composed: ComposedOnce,
    results: dict[int, Result],
    sweep_run: SweepRun,
) -> None:
    """Launch jobs, each in the folder that has its number in the whole sweep, and put down what became of them."""
    if not todo:
        return
    folder = claim_folder()
    launched = [overrides[job.number] for job in todo]
    for texts, job in zip(launched, todo, strict=True):
        config = composed.composed[tuple(texts)]
        with open_dict(config):
            config.hydra.sweep.dir = str(folder)
            config.hydra.sweep.subdir = str(job.number)
            config.sweep.parent = sweep_run.parent_of(job)
            config.sweep.name = sweep_run.name
    if isinstance(launcher, _Submits):
        launcher.on_submit = partial(_mark_submitted, {job.number: job for job in todo})
    try:
        if isinstance(launcher, BasicLauncher):
            _launch_one_by_one(launcher, launched, todo, folder)
        else:
            launcher.launch(launched, initial_job_idx=0)
    except TlftError as error:
        log.error("failed: %s", error)
        sys.exit(1)
    finally:
        results |= {job.number: _read_result(job, folder / str(job.number)) for job in todo}


def _launch_one_by_one(
    launcher: BasicLauncher, launched: Sequence[Sequence[str]], todo: Sequence[PlannedJob], folder: Path
) -> None:
    """Launch each job alone: of several the launcher keeps what each returns, three configurations, to the end."""
    for texts, job in zip(launched, todo, strict=True):
        launcher.launch([texts], initial_job_idx=job.number)
        if job.config.sweep.on_failure == "stop" and _read_result(job, folder / str(job.number)).status == "failed":
            log.warning("sweep.on_failure=stop: the jobs after job %d are not started", job.number)
            return


def _mark_submitted(jobs: Mapping[int, PlannedJob], number: int, slurm_job: str) -> None:
    jobs[number].store.mark_submitted(jobs[number].identity.key, slurm_job)


@contextmanager
def _summed_up_after_interrupts() -> Iterator[list[BaseException]]:
    """Catch what ends a sweep before its end, since the summary is owed all the same."""
    stopped: list[BaseException] = []
    try:
        yield stopped
    except (KeyboardInterrupt, SystemExit) as error:
        stopped.append(error)


def _read_result(job: PlannedJob, folder: Path) -> Result:
    told = read_outcome(folder)
    if not told:
        return Result(job, "not started", folder=folder)
    if told["status"] == "running":
        told["status"] = "interrupted"
    return Result(
        job, told["status"], told["run_id"], told.get("score"), told["seconds"], told.get("error", ""), folder
    )


def _all_results(jobs: Sequence[PlannedJob], launched: Mapping[int, Result]) -> list[Result]:
    results = dict(launched)
    for job in jobs:
        if job.number in launched:
            continue
        if job.outcome is not None:
            results[job.number] = Result(job, "skipped", job.outcome.run_id, job.outcome.score, job.outcome.seconds)
        elif job.same_as is not None:
            results[job.number] = replace(results[job.same_as], job=job)
        else:
            results[job.number] = Result(job, "elsewhere" if job.status == "elsewhere" else "not started")
    return [results[job.number] for job in jobs]
