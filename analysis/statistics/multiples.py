"""How many times as much of something one way needs to do as well as another with the least of it: images, or epochs.

Hernandez et al. 2021 (Scaling Laws for Transfer, arXiv:2102.01293) measure transfer so: by the data that training from
scratch would have needed besides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.intervals import LEVEL
from analysis.statistics.variance import CorrectMatrix, Groups, group_numbers

_DRAWS, _BLOCK = 2000, 100


@dataclass(frozen=True)
class Arm:
    """The networks of one way that got some amount.

    Attributes:
        amount: above 0.
        correct: of shape (networks, images), 0 or 1, the images the same ones for all arms.
        seeds: what tells the networks apart: those of one seed in several arms are not independent of each other.
    """

    amount: float
    correct: CorrectMatrix
    seeds: tuple[str, ...]


@dataclass(frozen=True)
class Multiple:
    """How many times the least amount of the new way the old one needs to do as well as the new one does with it.

    Attributes:
        value: the estimate; infinite if the old way never does as well; 0 if it does so with its own least amount.
        low, high: of the 95 % interval, with the same meaning.
        level: the accuracy in question, 0..1: that of the new way with its least amount.
        most: the largest amount of the old way over the least of the new one, beyond which nothing can be told.
    """

    value: float
    low: float
    high: float
    level: float
    most: float


def multiple(new: Arm, old: Sequence[Arm], groups: Groups | None = None) -> Multiple:
    """Return how many times the new way's amount the old way needs to do as well, with its interval.

    The old way's curve is the non-decreasing one nearest to its accuracies (isotonic regression), straight over the
    logarithm of the amount; the multiple is where it first reaches the accuracy of the new way. The interval is that of
    a bootstrap which draws images (or their groups) for all arms at once, and of n seeds n - 1, so that the spread of a
    mean over few seeds is not understated (Rao and Wu 1988, J. Am. Stat. Assoc. 83:231); arms of the same seeds are
    drawn together. The same numbers are drawn each time.

    Args:
        new: the new way with its least amount.
        old: two arms at least, by growing amount.
        groups: of shape (images,): which images are not independent of each other.
    """
    amounts = np.log([arm.amount for arm in old])
    observed = np.array([arm.correct.mean() for arm in (new, *old)])
    drawn = _draw_accuracies([new], old, group_numbers(groups, new.correct.shape[1]))
    value = _log_needed(amounts, observed[1:], observed[0])
    draws = [_log_needed(amounts, accuracies[1:], accuracies[0]) for accuracies in drawn]
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="inverted_cdf")
    # The estimate is of other accuracies than the draws, and may lie outside of nearly all of them.
    return Multiple(
        value=_times(value, new.amount),
        low=_times(min(low, value), new.amount),
        high=_times(max(high, value), new.amount),
        level=float(observed[0]),
        most=old[-1].amount / new.amount,
    )


def _times(logarithm: float, amount: float) -> float:
    return math.exp(logarithm) / amount if math.isfinite(logarithm) else math.inf if logarithm > 0 else 0.0


def _log_needed(amounts: NDArray[np.float64], accuracies: NDArray[np.float64], level: float) -> float:
    """Return the logarithm of the amount with which a way first reaches an accuracy.

    It is infinite if it never does, and minus infinity if it does with its least amount.
    """
    from scipy.optimize import isotonic_regression

    fitted = np.asarray(isotonic_regression(accuracies).x)
    if level <= fitted[0]:
        return -math.inf
    if level > fitted[-1]:
        return math.inf
    place = int(np.searchsorted(fitted, level))  # the first that reaches it
    share = (level - fitted[place - 1]) / (fitted[place] - fitted[place - 1])
    return float(amounts[place - 1] + share * (amounts[place] - amounts[place - 1]))


def _draw_accuracies(new: Sequence[Arm], old: Sequence[Arm], numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the accuracy of each arm in each draw, of shape (draws, arms), in blocks that fit into memory."""
    random = np.random.default_rng(0)
    groups = int(numbers.max()) + 1
    blocks = []
    for _ in range(_DRAWS // _BLOCK):
        weights = random.multinomial(groups, np.full(groups, 1 / groups), size=_BLOCK)[:, numbers].astype(np.float64)
        weights /= weights.sum(axis=1, keepdims=True)
        blocks.append(np.stack([*_draw_way(random, new, weights), *_draw_way(random, old, weights)], axis=1))
    return np.concatenate(blocks)


def _draw_way(
    random: np.random.Generator, way: Sequence[Arm], weights: NDArray[np.float64]
) -> list[NDArray[np.float64]]:
    """Return the accuracy of each arm of a way, of shape (draws,); the same seeds are drawn for all of its arms."""
    seeds = sorted(set().union(*(arm.seeds for arm in way)))
    drawn = max(len(seeds) - 1, 1)
    times = random.multinomial(drawn, np.full(len(seeds), 1 / len(seeds)), size=len(weights))
    accuracies = []
    for arm in way:
        of_arm = times[:, [seeds.index(seed) for seed in arm.seeds]].astype(np.float64)
        of_arm[of_arm.sum(axis=1) == 0] = 1.0  # none of its seeds was drawn, since it lacks some
        by_network = weights @ arm.correct.T
        accuracies.append((by_network * of_arm).sum(axis=1) / of_arm.sum(axis=1))
    return accuracies
