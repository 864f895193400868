"""Compose the jobs of a sweep with Hydra and no more: `python -m bench.sides.compositions FACTOR OVERRIDE...`.

Tells the seconds since the process began, what the jobs take being multiplied by a factor.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import psutil
from hydra.types import RunMode

from bench.sides.telling import say
from tlft.config.compose import Composer
from tlft.planning.jobs import expand_axes


def main(factor: float, overrides: Sequence[str]) -> float:
    """Return the seconds."""
    loader = Composer().loader
    master = loader.load_configuration("config", list(overrides), RunMode.MULTIRUN)
    jobs = expand_axes({}, overrides, loader)
    before = time.time() - float(psutil.Process().create_time())
    started = time.perf_counter()
    for job in jobs:
        loader.load_sweep_config(master, job)
    return before + factor * (time.perf_counter() - started)


if __name__ == "__main__":
    say(main(float(sys.argv[1]), sys.argv[2:]))
