"""The jobs of a sweep: each composed, checked and resolved once, before the first starts; and what became of them."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from tlft.config.addresses import hide_passwords
from tlft.config.compose import COMPOSITION_ERRORS, Composer
from tlft.config.overrides import single_values
from tlft.config.schema import Config
from tlft.config.sweep_composer import Composition, SweepComposer, composed_already
from tlft.errors import ConfigurationError, InapplicableError
from tlft.records.outcome import Outcome, RunStatus
from tlft.runs.identify import Identity
from tlft.runs.preflight import examine, examine_keys
from tlft.storage.looking import looking_once
from tlft.tracking.store import Store

log = logging.getLogger(__name__)

MOST_JOBS = 100_000
"""In a sweep: one more is a slip, such as range(1e9), that would be composed for hours."""


@dataclass(frozen=True)
class Job:
    """One Hydra job.

    Attributes:
        number: in the whole sweep, from 0.
        config: checked and resolved.
        composition: of the whole configuration, with Hydra's own node.
        overrides: what was typed of this job alone.
    """

    number: int
    config: Config
    composition: Composition = field(default_factory=Composition)
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class PlannedJob:
    """A job and what is known of its run before it starts.

    Attributes:
        status: NEW, UNFINISHED, ELSEWHERE or SKIPPED.
        outcome: of the run, if it was done before.
        same_as: number of an earlier job of the sweep that has the same run, which is done once.
    """

    job: Job
    identity: Identity
    store: Store
    status: RunStatus
    outcome: Outcome | None = None
    same_as: int | None = None

    @property
    def number(self) -> int:
        """Of the job."""
        return self.job.number

    @property
    def config(self) -> Config:
        """Of the job."""
        return self.job.config

    @property
    def is_due(self) -> bool:
        """Whether this sweep has to do it."""
        return self.same_as is None and self.status in (RunStatus.NEW, RunStatus.UNFINISHED)


@dataclass(frozen=True)
class Result:
    """What became of a job; `folder` has its output, if it was begun."""

    planned: PlannedJob
    outcome: Outcome
    folder: Path | None = None


def expand_axes(params: Mapping[str, str], arguments: Sequence[str], loader: ConfigLoader) -> list[list[str]]:
    """Return the overrides of each job of a sweep, in the order of Hydra's basic sweeper.

    The axes are the `params` of the sweeper and what was typed; a later one of a key replaces an earlier.

    Raises:
        ConfigurationError: if an axis has no value, or the sweep more than `MOST_JOBS` jobs.
    """
    axes: dict[str, list[str]] = {}
    overrides = OverridesParser.create(config_loader=loader).parse_overrides(
        [*(f"{key}={value}" for key, value in params.items()), *arguments]
    )
    for override in overrides:
        key = override.get_key_element()
        plain = not override.is_sweep_override()
        axes[key] = (
            [f"{key}={override.get_value_element_as_str()}"] if plain else single_values(override, MOST_JOBS + 1)
        )
        if not axes[key]:
            raise ConfigurationError(f"{override.input_line}: comes to no value at all; give at least one")
    if math.prod(map(len, axes.values())) > MOST_JOBS:
        longest = max(axes, key=lambda key: len(axes[key]))
        raise ConfigurationError(f"{longest}: makes more than {MOST_JOBS} jobs; give fewer values, or several sweeps")
    return [list(texts) for texts in itertools.product(*axes.values())]


@looking_once()
def compose_jobs(master: DictConfig, overrides: Sequence[Sequence[str]], loader: ConfigLoader) -> list[Job]:
    """Compose every job of a sweep, so that what is edited on the disk afterwards reaches none (hydra#1945).

    Hydra composed `master` of the sweep itself; `overrides` are, of each job, everything that was typed.

    Raises:
        ConfigurationError: with each problem once, and the jobs that have it.

    A job that asks for what its network has not (see `InapplicableError`) is left out, which is said, unless all are.
    """
    composer = SweepComposer(master, loader)
    blamed: dict[str, list[int]] = {}
    inapplicable: dict[str, list[int]] = {}
    jobs: list[Job] = []
    for number, texts in enumerate(overrides):
        problems: Sequence[str] = ()
        wrong = blamed
        try:
            config, composition = _compose_job(master, texts, composer, loader)
            jobs.append(Job(number, config, composition, tuple(texts)))
        except InapplicableError as error:
            problems, wrong = error.in_a_sweep, inapplicable
        except ConfigurationError as error:
            problems = error.problems
        except COMPOSITION_ERRORS as error:
            problems, _ = Composer(loader, master.hydra.job.config_name).explain(texts, error)
        for problem in problems:
            wrong.setdefault(problem, []).append(number)
    said = [
        problem if len(numbers) == len(overrides) else f"{name_jobs(numbers)}: {problem}"
        for problem, numbers in (blamed | inapplicable).items()
    ]
    if blamed or not jobs:
        raise ConfigurationError(said)
    for line in said:
        log.warning("left out: %s", line)
    return jobs


def _compose_job(
    master: DictConfig, texts: Sequence[str], composer: SweepComposer, loader: ConfigLoader
) -> tuple[Config, Composition]:
    """Compose and check a job: by Hydra itself if it differs from others in more than plain keys, or if it is wrong.

    Raises:
        ConfigurationError: with each problem that it has.
        Exception: whatever Hydra raises.
    """
    if (job := composer.find(texts)) is not None:
        try:
            return examine_keys(job, loader)
        except ConfigurationError:
            raise
        except Exception as error:  # Hydra will say what it is, or do without
            log.debug("%s: composed by Hydra (%s)", texts, error)
    composed = hide_passwords(loader.load_sweep_config(master, list(texts)))
    return examine(composed, loader), composed_already(composed)


def name_jobs(numbers: Sequence[int]) -> str:
    """Name jobs by their numbers, the first six of them, and count the others."""
    listed = ", ".join(map(str, numbers[:6])) + (f" and {len(numbers) - 6} more" if len(numbers) > 6 else "")
    return f"job{'s' if len(numbers) > 1 else ''} {listed}"
