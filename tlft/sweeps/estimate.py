"""Estimate what a sweep will take, from what earlier runs of the same architectures took on this machine."""

from __future__ import annotations

import json
import platform
import statistics
from collections.abc import Sequence

from tlft.names import Artifact, Param, Tag
from tlft.runtime.device import available_threads
from tlft.runtime.progress import describe_duration, describe_space
from tlft.sweeps.jobs import PlannedJob
from tlft.tracking.records import Record


def describe_cost(jobs: Sequence[PlannedJob], *, on_all_cores: bool = False) -> str:
    """Say the time and the space on disk that jobs will take, such as `, about 14 min, 1.2 GB`.

    What no earlier run tells is left out; one job that nothing is known of makes the time unknown. `on_all_cores`: jobs
    run beside each other, so that they have all cores together, whatever each has.
    """
    earlier: dict[tuple[int, str], list[Record]] = {}
    seconds: list[float | None] = []
    sizes: list[int] = []
    for job in jobs:
        key = (id(job.store), job.config.arch.name)
        if key not in earlier:
            earlier[key] = job.store.recent(job.config.arch.name, platform.node())
        seconds.append(_seconds(job, earlier[key], on_all_cores))
        if job.config.tracking.weights:
            sizes += [size for size in map(_weights_size, earlier[key]) if size][:1]
    estimated = [estimate for estimate in seconds if estimate is not None]
    time = f", about {describe_duration(sum(estimated))}" if jobs and len(estimated) == len(seconds) else ""
    return time + (f", {describe_space(sum(sizes))}" if sizes else "")


def _seconds(job: PlannedJob, records: Sequence[Record], on_all_cores: bool) -> float | None:
    """Return the median time of like runs: on the same training images if there are such, per epoch if trained."""
    trained = [record for record in records if (Param.EPOCHS in record.params) == (job.config.training.epochs > 0)]
    on_device = _on_device(job.config.device, trained)
    images = job.identity.science["data"].get("train")
    comparable = [record for record in on_device if record.params.get(Param.DATA_TRAIN) == images] or on_device
    threads = available_threads() if on_all_cores else job.config.threads or available_threads()
    rates = [
        float(record.tags[Tag.SECONDS]) * _threads(record, threads) / int(record.params.get(Param.EPOCHS, "1"))
        for record in comparable
        if Tag.SECONDS in record.tags
    ]
    return statistics.median(rates) / threads * max(job.config.training.epochs, 1) if rates else None


def _on_device(device: str, records: Sequence[Record]) -> list[Record]:
    """Return the records of one kind of device: the one asked for, or that of the newest record."""
    kinds = [record.tags.get(Tag.DEVICE, "").partition(":")[0] for record in records]
    relevant = device.partition(":")[0] if device != "auto" else next(iter(kinds), "")
    return [record for record, kind in zip(records, kinds, strict=True) if kind == relevant]


def _threads(record: Record, otherwise: int) -> int:
    """Return how many threads a run had; on another device than the CPU their number says nothing of its time."""
    threads = record.tags.get(Tag.THREADS, "")
    return int(threads) if record.tags.get(Tag.DEVICE) == "cpu" and threads.isdecimal() else otherwise


def _weights_size(record: Record) -> int:
    size, _ = json.loads(record.tags.get(Tag.FILES, "{}")).get(Artifact.WEIGHTS, (0, ""))
    return int(size)
