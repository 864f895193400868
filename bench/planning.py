"""Planning a thousand jobs, beside Hydra's own composition of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from bench.pairs import Comparison, Figure, Side, Sizes
from bench.photographs import copy_photographs
from bench.processes import run, side, tlft, told_time, whole_time


def comparisons() -> Iterator[Comparison]:
    """Yield the one that there is."""
    meaning = (
        "1,000 jobs composed, checked, identified and looked up, plan=true, whole process: a process in which Hydra "
        "composes them and no more, measured for 200 jobs and scaled"
    )
    yield Comparison([Figure("plan1000/over_hydra", "over_hydra", "plan", meaning)], _prepare)


def _prepare(folder: Path, sizes: Sizes) -> Mapping[str, Side]:
    photographs, home = copy_photographs(folder / "photographs", sizes.photographs), folder / "home"
    base = ("arch=efficientnet_lite0", "data=imagefolder", f"data.root={photographs}")

    def axes(seeds: int) -> list[str]:
        """Return axes that make 20 jobs of each seed."""
        groups = ["experiment=fine_tune,from_scratch", "optimizer=sgd,adamw"]
        return [*base, *groups, "optimizer.lr=0.1,0.03,0.01,0.003,0.001", f"seed=range({seeds})"]

    run(*tlft(home, *base, "plan=true"))  # makes the database, which is there when the clock starts

    composed = side("compositions", sizes.plan_seeds / sizes.hydra_seeds, *axes(sizes.hydra_seeds))
    return {
        "plan": lambda _: whole_time(*tlft(home, "-m", *axes(sizes.plan_seeds), "plan=true")),
        "over_hydra": lambda _: told_time(composed, folder),
    }
