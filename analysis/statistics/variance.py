"""How far a mean over networks and images may lie from the truth: what images, groups of images, and seeds add.

A mean over seeds and images is that of a two-way layout of crossed random effects without replication (Searle, Casella
and McCulloch 1992, Variance Components, ch. 4). The images are many, so that their part is estimated; the seeds are
few, and what they leave open is kept: a distribution of their variance (Weerahandi 1993, J. Am. Stat. Assoc. 88:899).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

CorrectMatrix = NDArray[np.float64]
"""Of shape (networks, images), zeros and ones: whether a network was right about an image."""

Groups = Sequence[str] | NDArray[np.str_]
"""The group of each image: images of one burst, nest or patient, which are not independent of each other."""

FEWEST_SEEDS = 3  # from which on the spread over seeds is estimated; two say too little

_NODES = 24  # with which the quantiles of Student's t with two degrees of freedom are met to four digits


@dataclass(frozen=True)
class Variance:
    """What is known of the variance of an error: values that it may have, and the chance of each."""

    values: NDArray[np.float64]
    chances: NDArray[np.float64]

    def __add__(self, other: Variance | float) -> Variance:
        """Return the variance of the sum of two independent errors, or of one and one whose variance is known."""
        if not isinstance(other, Variance):
            return replace(self, values=self.values + other)
        values = self.values[:, None] + other.values[None, :]
        return Variance(values.ravel(), np.outer(self.chances, other.chances).ravel())

    def times(self, factor: float) -> Variance:
        """Return the variance of an error that is larger by the root of a factor."""
        return replace(self, values=self.values * factor)

    @property
    def is_zero(self) -> bool:
        """Whether there is no error."""
        return not self.values.any()


NONE = Variance(np.zeros(1), np.ones(1))


def mean_squares(correct: CorrectMatrix) -> tuple[float, float]:
    """Return the mean squares of seeds, and of what neither seeds nor images explain.

    Args:
        correct: of shape (seeds, images), at least two of each.
    """
    seeds, images = correct.shape
    mean = correct.mean()
    by_image = seeds * ((correct.mean(axis=0) - mean) ** 2).sum()
    by_seed = images * ((correct.mean(axis=1) - mean) ** 2).sum()
    left = max(((correct - mean) ** 2).sum() - by_image - by_seed, 0.0)
    return float(by_seed / (seeds - 1)), float(left / ((images - 1) * (seeds - 1)))


def seed_variance(correct: CorrectMatrix) -> Variance:
    """Return what the draw of the seeds adds to the variance of the mean.

    The seeds' mean square is their true variance and the residual one, times chi squared over its degrees of freedom;
    the former follows for each value of the latter, and is zero where it would be negative. So nothing jumps where the
    two mean squares are equal; and where the seeds dominate, the error is Student's t with one degree of freedom fewer
    than there are seeds.
    """
    seeds, images = correct.shape
    if seeds < 2 or images < 2:
        return NONE
    from scipy.special import gammaincinv

    by_seed, residual = mean_squares(correct)
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    nodes, weights = (nodes + 1) / 2, weights / 2
    chi_squared = 2 * gammaincinv((seeds - 1) / 2, nodes**4)  # the power puts nodes where it is next to nothing
    values = np.maximum(by_seed * (seeds - 1) / chi_squared - residual, 0.0) / correct.size
    return Variance(values, 4 * nodes**3 * weights)


def relative_spread(share: float, mean: float, images: float) -> float:
    """Return how many times the variance over seeds would be what it is at their mean, if the true share were another.

    An accuracy near 1 leaves little room, so that seeds whose accuracies are alike there need not be alike elsewhere:
    the variance goes as that of a share, two images more being right and two wrong (Agresti and Coull 1998, Am. Stat.
    52:119), since a few errors do not tell how near to 1 it is.
    """
    of_share, of_mean = ((value * images + 2) / (images + 4) for value in (share, mean))
    return of_share * (1 - of_share) / (of_mean * (1 - of_mean))


def chance_beyond(distance: float, variance: Variance, freedom: float = np.inf) -> float:
    """Return the chance that an error is larger than a distance, in either direction; 1 for no distance.

    Args:
        distance: at least 0.
        variance: of the error.
        freedom: degrees of freedom of the part that was estimated from the images.
    """
    if distance == 0:
        return 1.0
    from scipy.special import ndtr, stdtr

    errors = np.sqrt(variance.values)
    scaled = np.divide(distance, errors, out=np.full_like(errors, np.inf), where=errors > 0)
    tails = ndtr(-scaled) if np.isinf(freedom) else stdtr(freedom, -scaled)
    return float(2 * (variance.chances * tails).sum())


def edge(chance: Callable[[float], float], observed: float, end: float, level: float) -> float:
    """Return the value furthest from what was observed, towards an end of the scale, that a test does not reject.

    Args:
        chance: the test's p-value of a value; 1 for what was observed, falling towards the end.
        observed: the estimate.
        end: of the scale.
        level: the test rejects where p is below 1 - level.
    """
    from scipy.optimize import brentq

    if observed == end or chance(end) >= 1 - level:
        return end
    return float(brentq(lambda value: chance(value) - (1 - level), end, observed, xtol=1e-12))


def group_numbers(groups: Groups | None, images: int) -> NDArray[np.int64]:
    """Return the number of each image's group, from 0; each image is a group of its own where none are given."""
    if groups is None:
        return np.arange(images)
    assert len(groups) == images
    return np.unique(np.asarray(groups), return_inverse=True)[1].astype(np.int64)


def mean_group_size(numbers: NDArray[np.int64]) -> float:
    """Return how many images the group of an image has, on average over the images."""
    return float((np.bincount(numbers) ** 2).sum() / len(numbers))


def group_freedom(numbers: NDArray[np.int64]) -> float:
    """Return the degrees of freedom of a variance over groups: so many of one size, less one, would tell as much.

    Few large groups among many small ones tell little more than they alone would (Carter, Schnepel and Steigerwald
    2017, Rev. Econ. Stat. 99:698).
    """
    return max(len(numbers) / mean_group_size(numbers) - 1, 1.0)


def design_effect(shares: NDArray[np.float64], numbers: NDArray[np.int64]) -> float:
    """Return how many times the variance of a mean over images is that of one over independent images; at least 1.

    The cluster-robust variance (Liang and Zeger 1986, Biometrika 73:13), with its correction for few groups, over that
    of single images. Where next to no image is wrong nothing shows how alike the images of a group are, so that two
    wrong groups, each wrong as a whole, are added: with no error a group counts as one image.

    Args:
        shares: of shape (images,), the share of networks that are right about an image.
        numbers: of shape (images,), as of `group_numbers`.
    """
    size = mean_group_size(numbers)
    if size == 1:
        return 1.0
    residuals = shares - shares.mean()
    by_group = np.bincount(numbers, residuals)
    few = len(by_group) / max(len(by_group) - 1, 1)
    return max((float((by_group**2).sum()) * few + 2 * size**2) / (float((residuals**2).sum()) + 2 * size), 1.0)
