"""What jobs will take whose networks were never run here, from a short trial of each.

A sweep that is done, one whose like was run here before, and one that is done in a minute try nothing: that would only
cost the start of each command. What was measured is kept in the home's cache.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from tlft.errors import TlftError
from tlft.planning.jobs import PlannedJob
from tlft.runtime.device import available_threads
from tlft.storage.files import atomic_write
from tlft.terminal.progress import progress

_OVERHEAD = 2.0
"""Seconds that a run takes beside its images: 0.5 to 2.0 were measured in eight runs of a small network."""

_MANY = 1000
"""Images, each as often as it is computed: a CPU takes a minute or two for fewer, and a trial would be no gain."""

_QUIET = 0.1
"""Share of the machine that others may take while something is measured; beyond it the measure may be too long."""

_MOST_TRIALS = 3
"""Of what was measured on a busy machine, one in each command; the least counts."""


@dataclass(frozen=True)
class _Trial:
    """What an image takes, in seconds, as `tlft.training.speed.Speed` has it, which imports PyTorch.

    Attributes:
        open: how many more trials may show that it is less.
    """

    train: float
    evaluate: float
    on_cpu: bool
    open: int = 0


_Kind = tuple[Path, str]

_tried: dict[_Kind, _Trial | None] = {}
"""What this process has measured, by home and kind; None for what cannot be."""


def is_worth_a_trial(jobs: Sequence[PlannedJob]) -> bool:
    """Tell whether jobs take so long that a trial is a small part of it."""
    return sum(map(sum, _images_of(jobs))) >= _MANY


def try_networks(jobs: Sequence[PlannedJob]) -> None:
    """Measure how fast each network of some jobs is on this machine, for about three seconds each, and once.

    What was measured while others computed here is measured again by the next commands.
    """
    untried = {kind: job for job in jobs if (kind := _kind(job)) not in _tried and not _is_settled(kind)}
    if not untried:
        return
    with progress("measuring speed", len(untried), "networks") as advance:
        for kind, job in untried.items():
            _tried[kind] = trial = _try(job, _recall(kind))
            if trial is not None:
                _remember(kind, trial)
            advance()


def _is_settled(kind: _Kind) -> bool:
    trial = _recall(kind)
    return trial is not None and not trial.open


def _try(job: PlannedJob, before: _Trial | None) -> _Trial | None:
    """Measure the network of a job; the least counts of what was measured before and now."""
    from tlft.training.speed import measure_speed

    psutil.cpu_percent()  # the next call tells of the time between
    begun, own = time.monotonic(), time.process_time()
    speed = measure_speed(job.config, job.identity.weights.transform.crop, _threads(job))
    if speed is None:
        return before
    own = (time.process_time() - own) / (time.monotonic() - begun) / (os.cpu_count() or 1)
    is_quiet = psutil.cpu_percent() / 100 - own <= _QUIET
    trial = _Trial(speed.train, speed.evaluate, speed.on_cpu, 0 if is_quiet else _MOST_TRIALS - 1)
    if before is None:
        return trial
    least = min(trial.train, before.train), min(trial.evaluate, before.evaluate)
    return _Trial(*least, trial.on_cpu, 0 if is_quiet else before.open - 1)


def seconds_by_trial(jobs: Sequence[PlannedJob], threads: Sequence[int]) -> list[float | None]:
    """Return what jobs will take, each with so many threads; None if its network was never tried, or could not be."""
    seconds: list[float | None] = []
    for job, images, its_threads in zip(jobs, _images_of(jobs), threads, strict=True):
        kind = _kind(job)
        trial = _tried[kind] if kind in _tried else _recall(kind)
        if trial is None:
            seconds.append(None)
            continue
        trained, evaluated = images
        share = _threads(job) / its_threads if trial.on_cpu else 1.0
        seconds.append(_OVERHEAD + (trained * trial.train + evaluated * trial.evaluate) * share)
    return seconds


def is_disturbed(jobs: Sequence[PlannedJob]) -> bool:
    """Tell whether the network of a job was tried while others computed here, so that its estimate may be too long."""
    trials = [_tried.get(kind) or _recall(kind) for kind in set(map(_kind, jobs))]
    return any(trial.open for trial in trials if trial is not None)


def _images_of(jobs: Sequence[PlannedJob]) -> list[tuple[int, int]]:
    """Count the images that each job trains on and evaluates, each as often as it is.

    A frozen network that only gets a new head looks at each image once, and at its mirror image; the first of the jobs
    that need the same does so for all.
    """
    frozen: set[tuple[object, ...]] = set()
    images = []
    for job in jobs:
        config, training, dataset = job.config, job.config.training, job.identity.dataset
        looks_once = config.features == "auto" and config.augment.name == "reference" and training.image_size is None
        if training.trainable != "head" or not looks_once:
            images.append(_images(job))
            continue
        sizes = [len(dataset.split(split)) for split in ("train", "holdout", "eval")]
        views = min(training.epochs, 2 if training.flip else 1)
        part = (config.home, *_network(job), job.identity.weights.digest, dataset.root, views, *sizes)
        images.append((0, 0) if part in frozen else (0, views * sizes[0] + sizes[1] + sizes[2]))
        frozen.add(part)
    return images


def _images(job: PlannedJob) -> tuple[int, int]:
    """Count the images that a job of which nothing is kept trains on and evaluates."""
    training, dataset = job.config.training, job.identity.dataset
    trained, evaluated = len(dataset.split("train")), len(dataset.split("eval"))
    evaluations = 1 + (training.epochs // training.eval_every if training.eval_every else 0)
    return training.epochs * trained, evaluations * evaluated + len(dataset.split("holdout"))


def _threads(job: PlannedJob) -> int:
    return job.config.threads or available_threads()


def _kind(job: PlannedJob) -> _Kind:
    """Return the home of a job, and in a line what its speed depends on."""
    config, training = job.config, job.config.training
    recipe = [*(["sam"] if training.sam else []), *([training.image_size] if training.image_size else [])]
    part = (training.trainable, training.batch_size, *recipe) if training.epochs else ()
    versions = _version("torch"), _version(config.arch.library)
    return config.home, " ".join(map(str, (platform.node(), *versions, *_network(job), _threads(job), *part)))


def _network(job: PlannedJob) -> tuple[object, ...]:
    """Return what is applied to images, of which size, and how."""
    config = job.config
    size = job.identity.weights.transform.crop
    return config.arch.library, config.arch.name, size, config.precision, config.device


@cache
def _version(package: str) -> str:
    return metadata.version(package)


def _recall(kind: _Kind) -> _Trial | None:
    """Return what an earlier command has measured."""
    try:
        return _Trial(**_read(kind[0])[kind[1]])
    except (KeyError, TypeError):
        return None


def _remember(kind: _Kind, trial: _Trial) -> None:
    """Keep a measure for the next commands; a plan is told without that too."""
    home, line = kind
    with suppress(TlftError):
        atomic_write(_file(home), json.dumps(_read(home) | {line: asdict(trial)}, indent=1).encode(), durable=False)


def _read(home: Path) -> dict[str, Any]:
    try:
        stat = _file(home).stat()
        trials = _parse(_file(home), stat.st_mtime_ns, stat.st_ino)
    except (OSError, ValueError):
        return {}
    return trials if isinstance(trials, dict) else {}


@lru_cache(maxsize=4)
def _parse(file: Path, mtime_ns: int, inode: int) -> Any:
    """Return what a file holds, which is asked of each job of a sweep."""
    return json.loads(file.read_text())


def _file(home: Path) -> Path:
    return home / "cache" / "speeds.json"
