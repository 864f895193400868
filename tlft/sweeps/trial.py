"""What jobs will take whose networks were never run here, from a short trial of each.

A sweep that is done, one whose like was run here before, and one that is done in a minute try nothing: that would only
cost the start of each command.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tlft.runtime.device import available_threads
from tlft.sweeps.jobs import PlannedJob
from tlft.terminal.progress import progress

if TYPE_CHECKING:
    from tlft.training.speed import Speed

_OVERHEAD = 2.0
"""Seconds that a run takes beside its images: 0.5 to 2.0 were measured in eight runs of a small network."""

_MANY = 1000
"""Images, each as often as it is computed: a CPU takes a minute or two for fewer, and a trial would be no gain."""

_Kind = tuple[object, ...]
_speeds: dict[_Kind, tuple[Speed | None, int]] = {}  # by this process; with the threads that each was tried with


def is_worth_a_trial(jobs: Sequence[PlannedJob]) -> bool:
    """Tell whether jobs take so long that a trial is a small part of it."""
    return sum(sum(_images(job)) for job in jobs) >= _MANY


def try_networks(jobs: Sequence[PlannedJob]) -> None:
    """Measure how fast each network of some jobs is on this machine, for about three seconds each, and once."""
    untried = {kind: job for job in jobs if (kind := _kind(job)) not in _speeds}
    if not untried:
        return
    from tlft.training.speed import measure_speed

    with progress("measuring speed", len(untried), "networks") as advance:
        for kind, job in untried.items():
            threads = job.config.threads or available_threads()
            _speeds[kind] = measure_speed(job.config, job.identity.weights.transform.crop, threads), threads
            advance()


def seconds_by_trial(job: PlannedJob, threads: int) -> float | None:
    """Return what a job will take with so many threads; None if its network was not tried, or could not be."""
    speed, tried_with = _speeds.get(_kind(job), (None, threads))
    if speed is None:
        return None
    trained, evaluated = _images(job)
    share = tried_with / threads if speed.on_cpu else 1.0
    return _OVERHEAD + (trained * speed.train + evaluated * speed.evaluate) * share


def _images(job: PlannedJob) -> tuple[int, int]:
    """Count the images that are trained on and evaluated, each as often as it is."""
    training, dataset = job.config.training, job.identity.dataset
    evaluations = 1 + (training.epochs // training.eval_every if training.eval_every else 0)
    evaluated = evaluations * len(dataset.split("eval")) + len(dataset.split("holdout"))
    return training.epochs * len(dataset.split("train")), evaluated


def _kind(job: PlannedJob) -> _Kind:
    """Return what the speed of a job depends on; threads are reckoned with."""
    config, training = job.config, job.config.training
    part = (training.trainable, training.batch_size) if training.epochs else ()
    crop = job.identity.weights.transform.crop
    return (config.arch.library, config.arch.name, crop, config.precision, config.device, *part)
