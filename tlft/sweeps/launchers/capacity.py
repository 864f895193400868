"""How many jobs run beside each other on this machine: as its GPUs, its cores and its memory allow."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tlft.config.schema import Config
from tlft.runtime.device import available_threads, count_gpus
from tlft.runtime.memory import available_memory
from tlft.sweeps.launchers.worker import common_threads

log = logging.getLogger(__name__)

_CPU, _ANY_GPU = "cpu", "gpu"


@dataclass(frozen=True)
class Capacity:
    """What this machine has room for.

    Attributes:
        at_once: jobs, on whatever device.
        on_cpu: of these on the CPU; `on_gpu`: on a GPU, one each. None: as many as there are.
        gpus: that the machine has; not looked for where all jobs ask for the CPU.
        threads: of each job, if nobody said.
        need: bytes of memory that the largest job takes; 0 if nobody knows.
        available: bytes of memory that all of them may take.
    """

    at_once: int
    on_cpu: int | None
    on_gpu: int | None
    gpus: int
    threads: int
    need: int
    available: int

    @property
    def share(self) -> int:
        """Bytes of memory that each job may hold."""
        return self.available // self.at_once

    def describe(self) -> str:
        """Say it as a plan does, such as `, 2 at once (8.5 GB each of 22 GB)`."""
        memory = f" ({self.need / 1e9:.1f} GB each of {self.available / 1e9:.0f} GB)" if self.need else ""
        return f", {self.at_once} at once{memory}"

    def warn(self) -> None:
        """Say that somebody asked for more jobs than memory allows."""
        if self.at_once * self.need > self.available and self.at_once > 1:
            log.warning(
                "hydra.launcher.jobs: %d jobs at once take about %.1f GB of memory, and %.1f are free; the system may "
                "kill some; ask for %d, or set a smaller training.batch_size",
                *(self.at_once, self.at_once * self.need / 1e9, self.available / 1e9),
                max(self.available // self.need, 1),
            )

    def first_that_fits(self, waiting: Sequence[Config], running: Sequence[Config]) -> int | None:
        """Return the index of the first waiting job that there is room for beside the running ones, if there is one."""
        if len(running) >= self.at_once:
            return None
        places = Counter(_place(config, self.gpus) for config in running)
        on_gpu = len(running) - places[_CPU]
        for index, config in enumerate(waiting):
            place = _place(config, self.gpus)
            if place == _CPU:
                fits = self.on_cpu is None or places[_CPU] < self.on_cpu
            else:
                fits = self.on_gpu is None or (on_gpu < self.on_gpu and (place == _ANY_GPU or not places[place]))
            if fits:
                return index
        return None


def capacity_for(configs: Sequence[Config], asked: int | None, need: int) -> Capacity:
    """Find out how many of some jobs run at once.

    A job on a GPU has one for itself, the one that it names if it names one; beside each other run as many as there
    are. Of jobs on the CPU run as many as cores allow. All together stay within memory, if it is known what a job
    takes. Whoever has `asked` for a number gets it.
    """
    cores = available_threads()
    gpus = count_gpus() if any(config.device != "cpu" for config in configs) else 0
    places = Counter(_place(config, gpus) for config in configs)
    available = available_memory()
    on_cpu = on_gpu = None
    if asked is None:
        on_cpu = min(max(cores // (common_threads(configs) or 1), 1), places[_CPU])
        named = len(places.keys() - {_CPU, _ANY_GPU})
        on_gpu = min(max(gpus, 1), places[_ANY_GPU] + named)
        at_once = min(on_cpu + on_gpu, available // need) if need else on_cpu + on_gpu
    else:
        at_once = asked
    at_once = max(min(at_once, len(configs)), 1)
    return Capacity(at_once, on_cpu, on_gpu, gpus, max(cores // at_once, 1), need, available)


def _place(config: Config, gpus: int) -> str:
    """Say where a job is computed: on the CPU, on any GPU, or on the one that it names."""
    kind, _, index = config.device.partition(":")
    if kind == "cpu" or (kind == "auto" and not gpus):
        return _CPU
    return f"{kind}:{int(index)}" if index else _ANY_GPU
