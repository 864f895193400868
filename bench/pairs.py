"""Sides that are measured in turn, and the ratios of their times; what the sides do is not known here."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Side = Callable[[int], float]
"""Does the work once, in a fresh process, and returns its seconds; it is told the round, from 0."""


@dataclass(frozen=True)
class Sizes:
    """How large the work is; the defaults are those of which figures are told.

    Attributes:
        photographs: of each class and split; None for all of the reference photographs.
        jpegs: that are decoded.
        runs: of which a table is made.
        seeds: of a plan, which is 20 times as many jobs; and for how many Hydra composes, the time being scaled.
        probe_seeds: of the linear probes, which are 20 times as many.
    """

    photographs: int | None = None
    jpegs: int = 10_000
    runs: int = 1000
    plan_seeds: int = 50
    hydra_seeds: int = 10
    probe_seeds: int = 5


SMALL = Sizes(photographs=8, jpegs=60, runs=30, plan_seeds=1, hydra_seeds=1, probe_seeds=1)
"""To see that everything works; the figures say nothing."""


@dataclass(frozen=True)
class Figure:
    """A ratio: what the side `theirs` takes, divided by what `ours` takes.

    Attributes:
        meaning: what is compared, in words.
        goal: what it should come to at least, on two cores; None where none was set.
    """

    name: str
    theirs: str
    ours: str
    meaning: str
    goal: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Figures whose sides are measured in turn; `prepare` makes what they need in a folder, and returns them."""

    figures: Sequence[Figure]
    prepare: Callable[[Path, Sizes], Mapping[str, Side]]

    def chosen(self, names: Collection[str]) -> list[Figure]:
        """Return the figures that are asked for, by name or by how their names begin; all of them without names."""
        return [
            figure
            for figure in self.figures
            if not names or any(figure.name == name or figure.name.startswith(f"{name}/") for name in names)
        ]


@dataclass(frozen=True)
class Ratio:
    """The ratios of all pairs, larger being better for us."""

    median: float
    min: float
    max: float
    n: int


def measure(
    sides: Mapping[str, Side], pairs: int, say: Callable[[str], None] = lambda line: None
) -> dict[str, list[float]]:
    """Have each side do its work once, then each once more, and so on; returns the seconds of each, by round."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(pairs):
        for name, side in sides.items():
            seconds[name].append(side(number))
            say(f"  round {number + 1} of {pairs}: {name} {seconds[name][-1]:.2f} s")
    return seconds


def ratio_of(theirs: Sequence[float], ours: Sequence[float]) -> Ratio:
    """Return how often what they take contains what we take, each round by itself."""
    ratios = [of_theirs / of_ours for of_theirs, of_ours in zip(theirs, ours, strict=True)]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios), len(ratios))
