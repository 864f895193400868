"""Estimate what a sweep will take, in time, space and memory, from what earlier runs of its networks took here.

Of a network that was never run here, the time is found out by a trial (see tlft/planning/trial.py).
"""

from __future__ import annotations

import platform
import statistics
from collections.abc import Sequence

from tlft.names import Artifact, Metric, Param, Tag
from tlft.planning.jobs import PlannedJob
from tlft.planning.trial import is_disturbed, is_worth_a_trial, seconds_by_trial, try_networks
from tlft.records.record import Record
from tlft.runtime.device import available_threads, count_gpus
from tlft.terminal.progress import describe_duration, describe_space

LONG = 7200.0
"""Seconds: what takes this or more on the CPU, so that it is said in hours, would be worth a GPU."""


def describe_cost(jobs: Sequence[PlannedJob], *, on_all_cores: bool = False, here: bool = False) -> str:
    """Say the time and the space on disk that jobs will take, such as `, about 14 min, 1.2 GB`, and if a GPU is wanted.

    It is by those that ask for one (`, on a GPU`), and by those that will take hours on the CPU, all together.

    Args:
        jobs: that are due.
        on_all_cores: they run beside each other, so that they have all cores together, whatever each has.
        here: they run on this machine, so that a network that was never run may be tried for a moment, which is said.
            What neither tells is left out; one job that nothing is known of makes the time unknown.
    """
    earlier = _earlier(jobs)
    seconds = [_seconds(job, records, on_all_cores) for job, records in zip(jobs, earlier, strict=True)]
    unknown = [job for job, known in zip(jobs, seconds, strict=True) if known is None]
    if here and unknown:
        if _may_try(unknown, on_all_cores):
            try_networks(unknown)
        seconds = _with_trials(jobs, seconds, on_all_cores)
    sizes: list[int] = []
    for job, records in zip(jobs, earlier, strict=True):
        if job.config.tracking.weights:
            sizes += [size for size in map(_weights_size, records) if size][:1]
    known_seconds = [estimate for estimate in seconds if estimate is not None]
    time = ""
    if jobs and len(known_seconds) == len(jobs):
        time = _describe_time(jobs, sum(known_seconds), by_trial=here and bool(unknown), here=here)
    return _describe_gpus(jobs) + time + (f", {describe_space(sum(sizes))}" if sizes else "")


def _may_try(jobs: Sequence[PlannedJob], in_other_processes: bool) -> bool:
    """Tell whether networks are tried: a process that has used a GPU keeps some of it, which others may need."""
    is_plan = any(job.config.plan for job in jobs)
    on_gpu = in_other_processes and any(_computes_on_gpu(job.config.device) for job in jobs)
    return is_plan or (is_worth_a_trial(jobs) and not on_gpu)


def _describe_gpus(jobs: Sequence[PlannedJob]) -> str:
    """Say how many jobs ask for a GPU by name."""
    count = sum(job.config.device.startswith(_GPUS) for job in jobs)
    return "" if not count else ", on a GPU" if count == len(jobs) else f", {count} on a GPU"


def _describe_time(jobs: Sequence[PlannedJob], seconds: float, *, by_trial: bool, here: bool) -> str:
    """Say a time, how it is known, and if a GPU would shorten it, which is many times as fast as a CPU.

    What `device=auto` comes to is known of this machine alone.
    """
    devices = {job.config.device for job in jobs}
    is_long = seconds >= LONG and devices <= ({"auto", "cpu"} if here else {"cpu"})
    on_cpu = is_long and not any(map(_computes_on_gpu, devices))
    how = "by a short trial"
    remarks = [
        *([f"{how} beside other work: less if that ends" if is_disturbed(jobs) else how] if by_trial else []),
        *(["a GPU would take a fraction of it"] if on_cpu else []),
    ]
    said = f", about {describe_duration(seconds)}{' on the CPU' if on_cpu else ''}"
    return said + (f" ({'; '.join(remarks)})" if remarks else "")


def expected_seconds(jobs: Sequence[PlannedJob], *, on_all_cores: bool = False) -> list[float | None]:
    """Return what each job will take, by itself on the machine; None where neither an earlier run nor a trial tells."""
    seconds = [_seconds(job, records, on_all_cores) for job, records in zip(jobs, _earlier(jobs), strict=True)]
    return _with_trials(jobs, seconds, on_all_cores)


def _with_trials(jobs: Sequence[PlannedJob], seconds: Sequence[float | None], on_all_cores: bool) -> list[float | None]:
    """Return what jobs will take by earlier runs, or else by trials that were made in this process or before."""
    tried = seconds_by_trial(jobs, [_threads_of(job, on_all_cores) for job in jobs])
    return [trial if known is None else known for known, trial in zip(seconds, tried, strict=True)]


def _earlier(jobs: Sequence[PlannedJob]) -> list[list[Record]]:
    """Return for each job the recent runs of its network on this machine."""
    asked: dict[tuple[int, str], list[Record]] = {}
    records = []
    for job in jobs:
        key = (id(job.store), job.config.arch.name)
        if key not in asked:
            asked[key] = job.store.recent(job.config.arch.name, platform.node())
        records.append(asked[key])
    return records


def _seconds(job: PlannedJob, records: Sequence[Record], on_all_cores: bool) -> float | None:
    """Return the median time of like runs: on the same training images if there are such, per epoch if trained.

    Where the frozen part has looked at each image once, epochs take next to nothing.
    """
    training = job.config.training
    like = [
        record
        for record in records
        if Tag.SECONDS in record.tags
        and (Param.EPOCHS in record.params) == (training.epochs > 0)
        and (not training.epochs or record.params.get(Param.TRAINABLE, training.trainable) == training.trainable)
    ]
    threads = _threads_of(job, on_all_cores)
    estimates = []
    for record in _on_same_images(job, _on_device(job.config.device, like)):
        by_epoch = training.epochs > 0 and Metric.FEATURES_SECONDS not in record.metrics
        epochs = training.epochs / int(record.params[Param.EPOCHS]) if by_epoch else 1.0
        estimates.append(float(record.tags[Tag.SECONDS]) * _threads(record, threads) / threads * epochs)
    return statistics.median(estimates) if estimates else None


def _threads_of(job: PlannedJob, on_all_cores: bool) -> int:
    return available_threads() if on_all_cores else job.config.threads or available_threads()


def _on_same_images(job: PlannedJob, records: Sequence[Record]) -> Sequence[Record]:
    """Return the records of runs that were trained on the same images; all if there are none."""
    images = job.identity.science["data"].get("train")
    return [record for record in records if record.params.get(Param.DATA_TRAIN) == images] or records


def _on_device(device: str, records: Sequence[Record]) -> list[Record]:
    """Return the records of one kind of device: the one asked for, or that of the newest record."""
    kinds = [record.tags.get(Tag.DEVICE, "").partition(":")[0] for record in records]
    relevant = device.partition(":")[0] if device != "auto" else next(iter(kinds), "")
    return [record for record, kind in zip(records, kinds, strict=True) if kind == relevant]


def _threads(record: Record, otherwise: int) -> int:
    """Return how many threads a run had; on another device than the CPU their number says nothing of its time."""
    threads = record.tags.get(Tag.THREADS, "")
    return int(threads) if record.tags.get(Tag.DEVICE) == "cpu" and threads.isdecimal() else otherwise


def memory_need(jobs: Sequence[PlannedJob]) -> int:
    """Return the bytes of memory that the largest of some jobs takes on this machine.

    As the largest of earlier runs of the same network, batch, trained part, optimizer and kind of device has shown, or
    else as the network itself lets expect.
    """
    needs: dict[tuple[object, ...], int] = {}
    for job in jobs:
        config = job.config
        kind = (id(job.store), config.device, config.threads, config.training.keep, *_memory_params(job).items())
        if kind not in needs:
            on_same_images, on_others = _measured(job)
            # Other images may have been fewer than a batch.
            needs[kind] = on_same_images or max(on_others, _expected(job))
    return max(needs.values(), default=0)


def _memory_params(job: PlannedJob) -> dict[str, str | None]:
    """Return the params of a run that decide what memory it takes; None for what it must not have."""
    config, training = job.config, job.config.training
    is_trained = training.epochs > 0
    return {
        Param.ARCH: config.arch.name,
        Param.PRECISION: config.precision,
        Param.TRAINABLE: training.trainable,
        Param.BATCH_SIZE: str(training.batch_size) if is_trained else None,
        Param.OPTIMIZER: config.optimizer.name if is_trained else None,
    }


def _measured(job: PlannedJob) -> tuple[int, int]:
    """Return the most bytes that earlier runs took on the same training images, and on any others."""
    like = [
        record
        for record in job.store.recent(job.config.arch.name, platform.node())
        if Metric.PEAK_MEMORY in record.metrics
        and all(record.params.get(name) == value for name, value in _memory_params(job).items())
    ]
    images = job.identity.science["data"].get("train")
    peaks: dict[bool, int] = {}
    for record in _on_device(job.config.device, like):
        is_same = record.params.get(Param.DATA_TRAIN) == images
        peaks[is_same] = max(peaks.get(is_same, 0), int(record.metrics[Metric.PEAK_MEMORY] * 1e6))
    return peaks.get(True, 0), peaks.get(False, 0)


def _expected(job: PlannedJob) -> int:
    """Return what a run of which nothing was measured takes, by the network's own size, or 0 if that is not known."""
    config, identity = job.config, job.identity
    if not config.training.epochs:
        return _PROCESS + _EVALUATION
    if _computes_on_gpu(config.device):
        return _PROCESS + _GPU_CONTEXT
    from tlft.models.training_memory import training_memory

    batch = min(config.training.batch_size, len(identity.dataset.split("train")))
    trained = training_memory(config, batch, config.training.image_size or identity.weights.transform.crop)
    return _PROCESS + trained if trained else 0


def _computes_on_gpu(device: str) -> bool:
    return device != "cpu" and (device != "auto" or count_gpus() > 0)


_GPUS = ("cuda", "mps")
_PROCESS, _EVALUATION, _GPU_CONTEXT = 1_250_000_000, 1_000_000_000, 2_000_000_000
"""Bytes that a process holds with everything imported; what an evaluation takes beside that; and what CUDA takes."""


def _weights_size(record: Record) -> int:
    size, _ = record.files.get(Artifact.WEIGHTS, (0, ""))
    return size
