"""What so many images can show of two networks."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np

from analysis.statistics.families import ALPHA

POWER = 0.8


def smallest_difference(spoil_rate: float, images: int, alpha: float = ALPHA) -> float | None:
    """Return the smallest true difference that McNemar's score test finds with 80 % power, 0..1.

    The number of images about which two networks disagree is binomial, and so is its part that the better one corrects
    (Lachenbruch 1992, Stat. Med. 11:1521).

    Args:
        spoil_rate: share of the images that the worse network alone gets right, 0..1.
        images: how many there are.
        alpha: the chance with which the test may reject where there is no difference.

    Returns:
        A multiple of one image, from which on every difference is found; None if there is none.
    """
    most = int(images * (1 - 2 * spoil_rate))  # images, since no more can be corrected
    # Power grows with the difference, so the first that suffices is found by bisection.
    first = bisect_left(
        range(1, most + 1), POWER, key=lambda count: _power(count / images + spoil_rate, spoil_rate, images, alpha)
    )
    return (first + 1) / images if first < most else None


def rate_limit(images: int) -> float:
    """Return the largest share that is likely where none of so many images was seen (one-sided, 95 %), 0..1."""
    return float(1 - ALPHA ** (1 / images))


def _power(correct_rate: float, spoil_rate: float, images: int, alpha: float) -> float:
    """Return the chance that the test rejects in favour of the better network."""
    from scipy.special import bdtr, ndtri
    from scipy.stats import binom

    rate = correct_rate + spoil_rate
    middle, wide = images * rate, 12 * np.sqrt(images * rate * (1 - rate)) + 12
    disagreed = np.arange(max(int(middle - wide), 0), min(int(middle + wide), images) + 1)
    chance = binom.pmf(disagreed, images, rate)
    # The test rejects where the difference of the counts is at least this many roots of their sum.
    most_spoiled = np.floor((disagreed - float(-ndtri(alpha / 2)) * np.sqrt(disagreed)) / 2)
    some = most_spoiled >= 0
    share = spoil_rate / rate
    return float((chance[some] * bdtr(most_spoiled[some], disagreed[some], share)).sum())
