"""How many times as much of something one way needs to do as well as another: images, or epochs.

Two curves of accuracies over the logarithm of the amount are compared along the amount, at the accuracies that both
reach: what divides them there is the data multiplier of transfer (Hernandez et al. 2021, Scaling Laws for Transfer).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.intervals import LEVEL
from analysis.statistics.variance import CorrectMatrix, Groups, group_numbers

_DRAWS = 2000
_LEVELS = 21  # accuracies at which two curves are compared
_STEEPNESS = 1e-9  # that flat parts of a curve are given, so that each accuracy has one amount


@dataclass(frozen=True)
class Arm:
    """The networks of one way that got some amount.

    Attributes:
        amount: above 0.
        correct: of shape (networks, images), 0 or 1, the images the same ones for all arms.
    """

    amount: float
    correct: CorrectMatrix


@dataclass(frozen=True)
class Multiple:
    """How many times as much the old way needs as the new one.

    Attributes:
        value: the estimate; infinite if the old way never does as well, 0 if the new one never does.
        low, high: of the 95 % interval; infinite or 0 where these runs do not tell that end.
        widest: the largest amount over the least, beyond which nothing can be told.
    """

    value: float
    low: float
    high: float
    widest: float

    @property
    def is_told(self) -> bool:
        """Whether the interval says anything: it has both ends, or one that leaves no doubt which way needs more."""
        return self.low > 1 or self.high < 1 or (self.low > 0 and math.isfinite(self.high))


def multiple(new: Sequence[Arm], old: Sequence[Arm], groups: Groups | None = None) -> Multiple:
    """Return how many times the amount the old way needs to do as well as the new one, with its interval.

    Each curve is the non-decreasing one nearest to the arms' accuracies, straight over the logarithm between them; the
    multiple is the mean over the accuracies that both reach. The interval is that of a bootstrap which draws images (or
    their groups) for all arms at once, and of each arm with n networks n - 1 of them, so that the spread of a mean over
    few seeds is not understated (Rao and Wu 1988, J. Am. Stat. Assoc. 83:231). A draw in which the old way stays below
    the new one everywhere counts as infinite. The same numbers are drawn each time.

    Args:
        new: two arms at least, by growing amount.
        old: the same.
        groups: of shape (images,): which images are not independent of each other.
    """
    random = np.random.default_rng(0)
    images = new[0].correct.shape[1]
    weights = _draw_images(random, group_numbers(groups, images))
    curves = [_log_amounts(way) for way in (new, old)]
    observed = [np.array([arm.correct.mean() for arm in way]) for way in (new, old)]
    drawn = [np.stack([_draw_accuracies(random, arm.correct, weights) for arm in way], axis=1) for way in (new, old)]
    value = _log_multiple(*curves, *observed)
    draws = [_log_multiple(*curves, *accuracies) for accuracies in zip(*drawn, strict=True)]
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="inverted_cdf")
    amounts = [arm.amount for way in (new, old) for arm in way]
    # The estimate and the draws rest on different accuracies, and it may lie outside of nearly all of them.
    return Multiple(_exp(value), _exp(min(low, value)), _exp(max(high, value)), max(amounts) / min(amounts))


def _exp(logarithm: float) -> float:
    return math.exp(logarithm) if math.isfinite(logarithm) else math.inf if logarithm > 0 else 0.0


def _log_amounts(way: Sequence[Arm]) -> NDArray[np.float64]:
    return np.log([arm.amount for arm in way])


def _draw_images(random: np.random.Generator, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return how often each image is drawn, of shape (draws, images); those of a group as often."""
    count = int(numbers.max()) + 1
    times = random.multinomial(count, np.full(count, 1 / count), size=_DRAWS)
    return np.asarray(times[:, numbers], dtype=np.float64)


def _draw_accuracies(
    random: np.random.Generator, correct: CorrectMatrix, weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the accuracy of an arm in each draw, of shape (draws,)."""
    networks = len(correct)
    drawn = max(networks - 1, 1)
    times = random.multinomial(drawn, np.full(networks, 1 / networks), size=_DRAWS)
    by_network = weights @ correct.T / weights.sum(axis=1, keepdims=True)
    return np.asarray((by_network * times).sum(axis=1) / drawn)


def _log_multiple(
    new_amounts: NDArray[np.float64],
    old_amounts: NDArray[np.float64],
    new: NDArray[np.float64],
    old: NDArray[np.float64],
) -> float:
    """Return the logarithm of the multiple, from logarithms of amounts and the accuracies there; it may be infinite."""
    from scipy.optimize import isotonic_regression

    new, old = (
        np.asarray(isotonic_regression(accuracies).x) + _STEEPNESS * np.arange(len(accuracies))
        for accuracies in (new, old)
    )
    low, high = max(new[0], old[0]), min(new[-1], old[-1])
    if low >= high:
        return math.inf if new[0] >= old[-1] else -math.inf
    levels = np.linspace(low, high, _LEVELS)
    return float((np.interp(levels, old, old_amounts) - np.interp(levels, new, new_amounts)).mean())
