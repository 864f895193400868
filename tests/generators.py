"""Networks whose true accuracy is known, drawn in several ways.

`python tests/generators.py ROUNDS` prints how often intervals hold it, and how often what is alike is called different.

Each draws which images some seeds get right, of shape (seeds, images), and says the accuracy of one more seed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import repeat
from pathlib import Path

import numpy as np
from scipy import optimize, special

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from analysis.statistics import CorrectMatrix, accuracy_interval, compare, new_seed_interval

Draw = Callable[[np.random.Generator, float, int, int], tuple[CorrectMatrix, float]]
"""Of a generator, the true mean accuracy, seeds and images."""

IMAGES = 153


def networks(*right: int, images: int = IMAGES) -> CorrectMatrix:
    """Return networks that are right about their first images."""
    return np.array([[1.0] * count + [0.0] * (images - count) for count in right])


_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(60)


def _mean(middle: float, spread: float) -> float:
    return float((special.expit(middle + spread * _NODES) * _WEIGHTS).sum() / _WEIGHTS.sum())


@cache
def middle_of(accuracy: float, spread: float) -> float:
    """Return the mean of normal logits whose accuracy is given, by quadrature."""
    return float(optimize.brentq(lambda middle: _mean(middle, spread) - accuracy, -60, 60))


@dataclass(frozen=True)
class NormalLogits:
    """Images and seeds are more or less easy and good, normally on the logit scale."""

    image_spread: float
    seed_spread: float

    def __call__(
        self, random: np.random.Generator, accuracy: float, seeds: int, images: int
    ) -> tuple[CorrectMatrix, float]:
        middle = middle_of(accuracy, float(np.hypot(self.image_spread, self.seed_spread)))
        over_seeds = self.seed_spread * random.normal(size=(seeds, 1))
        logits = middle + self.image_spread * random.normal(size=(1, images)) + over_seeds
        correct = (random.random((seeds, images)) < special.expit(logits)).astype(np.float64)
        return correct, _mean(middle + self.seed_spread * random.normal(), self.image_spread)


@dataclass(frozen=True)
class BetaImages:
    """How easy an image is follows a beta distribution; seeds are alike."""

    concentration: float

    def __call__(
        self, random: np.random.Generator, accuracy: float, seeds: int, images: int
    ) -> tuple[CorrectMatrix, float]:
        shape = accuracy * self.concentration, (1 - accuracy) * self.concentration
        return (random.random((seeds, images)) < random.beta(*shape, size=(1, images))).astype(np.float64), accuracy


@dataclass(frozen=True)
class AlwaysWrong:
    """Some images are always wrong, the others hardly ever."""

    slip: float

    def __call__(
        self, random: np.random.Generator, accuracy: float, seeds: int, images: int
    ) -> tuple[CorrectMatrix, float]:
        slip = min(self.slip, (1 - accuracy) / 2)
        easy = random.random((1, images)) < accuracy / (1 - slip)
        return (easy & (random.random((seeds, images)) >= slip)).astype(np.float64), accuracy


@dataclass(frozen=True)
class CollapsedSeeds:
    """A seed in some gives figures like those of a coin."""

    chance: float

    def __call__(
        self, random: np.random.Generator, accuracy: float, seeds: int, images: int
    ) -> tuple[CorrectMatrix, float]:
        good = (accuracy - 0.5 * self.chance) / (1 - self.chance)
        rates = np.where(random.random((seeds, 1)) < self.chance, 0.5, good)
        new_seed = 0.5 if random.random() < self.chance else good
        return (random.random((seeds, images)) < rates).astype(np.float64), new_seed


GENERATORS: dict[str, Draw] = {
    "normal logits, images 1.5, seeds 0": NormalLogits(1.5, 0.0),
    "normal logits, images 1.5, seeds 0.3": NormalLogits(1.5, 0.3),
    "normal logits, images 1.5, seeds 1": NormalLogits(1.5, 1.0),
    "normal logits, images 4, seeds 0.3": NormalLogits(4.0, 0.3),
    "normal logits, images 4, seeds 1": NormalLogits(4.0, 1.0),
    "beta, concentration 0.5": BetaImages(0.5),
    "beta, concentration 5": BetaImages(5.0),
    "always wrong, others slip 0.1 %": AlwaysWrong(0.001),
    "always wrong, others slip 0.5 %": AlwaysWrong(0.005),
    "one seed in three collapses": CollapsedSeeds(1 / 3),
}


UNEQUAL = {
    "one of 50 images, 100 of one": (50, *[1] * 100),
    "five of 20 images, 50 of one": (*[20] * 5, *[1] * 50),
    "60, the k-th of 60/k images": tuple(max(60 // k, 1) for k in range(1, 61)),
}
"""Sizes of groups of which a few are much larger than the others."""


def clusters(
    random: np.random.Generator, accuracy: float, seeds: int, sizes: Sequence[int], alike: float
) -> tuple[CorrectMatrix, np.ndarray]:
    """Draw images in groups; with the chance `alike` an image shares its group's fate."""
    shared = random.random((1, len(sizes))) < accuracy
    own = random.random((seeds, sum(sizes))) < accuracy
    follows = random.random((1, sum(sizes))) < alike
    correct = np.where(follows, np.repeat(shared, sizes, axis=1), own).astype(np.float64)
    return correct, np.repeat(np.arange(len(sizes)), sizes).astype(str)


def coverages(draw: Draw, accuracy: float, seeds: int, images: int, rounds: int) -> tuple[float, float, float]:
    """Return how often the interval of the mean holds the true one, that of a new seed its accuracy; and the width."""
    random = np.random.default_rng([round(1000 * accuracy), seeds, images])
    held = held_new = 0
    widths = []
    for _ in range(rounds):
        correct, new_accuracy = draw(random, accuracy, seeds, images)
        interval, new = accuracy_interval(correct), new_seed_interval(correct)
        held += interval.low <= accuracy <= interval.high
        held_new += new is None or new.low <= new_accuracy <= new.high
        widths.append(interval.high - interval.low)
    return held / rounds, held_new / rounds, float(np.mean(widths))


def false_positives(draw: Draw, accuracy: float, seeds: int, images: int, rounds: int) -> float:
    """Return how often seeds are called different from an untouched network that is as good as they are on average."""
    random = np.random.default_rng([round(1000 * accuracy), seeds, images, 1])
    untouched = NormalLogits(1.5, 0.0)
    called = 0
    for _ in range(rounds):
        new, _ = draw(random, accuracy, seeds, images)
        old, _ = untouched(random, accuracy, 1, images)
        called += compare(new, old, old_is_fixed=True).p < 0.05
    return called / rounds


_ACCURACIES, _IMAGES, _SEEDS = (0.5, 0.8, 0.95, 0.99), (20, 50, 153, 1000), (3, 5, 10, 30)


def _lines(rounds: int, pool: Executor) -> Iterator[str]:
    yield f"{rounds} rounds; each cell is of the accuracy ({', '.join(map(str, _ACCURACIES))}) where it is worst\n"
    yield "Coverage of the mean, in %, and of one more seed:\n"
    yield "| generator | images | " + " | ".join(f"{seeds} seeds" for seeds in _SEEDS) + " |"
    yield "|---|---|---|---|---|---|"
    yield from pool.map(_covered, GENERATORS, repeat(rounds))
    yield "\nSeeds called different from an untouched network that is as good as they are on average, in %:\n"
    yield "| generator | images | 3 seeds | 5 seeds | 10 seeds |\n|---|---|---|---|---|"
    normal = [name for name, draw in GENERATORS.items() if isinstance(draw, NormalLogits)]
    yield from pool.map(_called, normal, repeat(rounds))
    yield "\nImages in groups, at an accuracy of 0.9: coverage, and two networks called different, in %:\n"
    yield "| images of a group | share its fate | groups | one network | 3 seeds | two networks |"
    yield "|---|---|---|---|---|---|"
    yield from pool.map(_grouped, (2, 4, 10), repeat(rounds))
    yield "\nThe same of groups of which a few are much larger than the others:\n"
    yield "| groups | share its fate | one network | 3 seeds | two networks |\n|---|---|---|---|---|"
    yield from pool.map(_unequal, UNEQUAL, repeat(rounds))


def covers_in_groups(seeds: int, sizes: Sequence[int], alike: float, rounds: int) -> float:
    """Return how often the interval holds an accuracy of 0.9 where images are in groups."""
    random, accuracy = np.random.default_rng([seeds, len(sizes), sum(sizes), round(100 * alike)]), 0.9
    held = 0
    for _ in range(rounds):
        correct, names = clusters(random, accuracy, seeds, sizes, alike)
        interval = accuracy_interval(correct, groups=names)
        held += interval.low <= accuracy <= interval.high
    return held / rounds


def false_positives_in_groups(sizes: Sequence[int], alike: float, rounds: int) -> float:
    """Return how often two networks that are equally good are called different where images are in groups."""
    random = np.random.default_rng([len(sizes), sum(sizes), round(100 * alike)])
    called = 0
    for _ in range(rounds):
        new, names = clusters(random, 0.9, 1, sizes, alike)
        old, _ = clusters(random, 0.9, 1, sizes, alike)
        called += compare(new, old, groups=names).p < 0.05
    return called / rounds


def _grouped(size: int, rounds: int) -> str:
    lines = []
    for alike in (0.0, 0.7, 1.0):
        for groups in (20, 50, 150):
            lines.append(f"| {size} | {alike} | {groups} | {_figures_of_groups([size] * groups, alike, rounds)} |")
    return "\n".join(lines)


def _unequal(name: str, rounds: int) -> str:
    lines = [f"| {name} | {alike} | {_figures_of_groups(UNEQUAL[name], alike, rounds)} |" for alike in (0.0, 0.7, 1.0)]
    return "\n".join(lines)


def _figures_of_groups(sizes: Sequence[int], alike: float, rounds: int) -> str:
    one, three = (100 * covers_in_groups(seeds, sizes, alike, rounds) for seeds in (1, 3))
    return f"{one:.1f} | {three:.1f} | {100 * false_positives_in_groups(sizes, alike, rounds):.1f}"


def _covered(name: str, rounds: int) -> str:
    draw, lines = GENERATORS[name], []
    for images in _IMAGES:
        cells = []
        for seeds in _SEEDS:
            results = {a: coverages(draw, a, seeds, images, rounds) for a in _ACCURACIES if _possible(draw, a)}
            worst = min(results, key=lambda a: results[a][0])
            least_new = min(result[1] for result in results.values())
            cells.append(f"{100 * results[worst][0]:.1f} at {worst}; {100 * least_new:.1f}")
        lines.append(f"| {name} | {images} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _called(name: str, rounds: int) -> str:
    lines = []
    for images in _IMAGES:
        cells = []
        for seeds in _SEEDS[:3]:
            rates = {a: false_positives(GENERATORS[name], a, seeds, images, rounds) for a in _ACCURACIES}
            worst = max(rates, key=lambda a: rates[a])
            cells.append(f"{100 * rates[worst]:.1f} at {worst}")
        lines.append(f"| {name} | {images} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _possible(draw: Draw, accuracy: float) -> bool:
    return not isinstance(draw, CollapsedSeeds) or 0.5 < accuracy < 0.83


if __name__ == "__main__":
    with ProcessPoolExecutor() as processes:
        for line in _lines(int(sys.argv[1]) if len(sys.argv) > 1 else 100, processes):
            print(line, flush=True)
