"""Intervals and paired tests of networks that were evaluated on the same images.

All of it takes plain arrays: which run stands in which column is not known here, and nothing is read or written.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

CorrectMatrix = NDArray[np.float64]
"""Of shape (networks, images), zeros and ones: whether a network was right about an image."""

LEVEL = 0.95
POWER = 0.8
FEWEST_SEEDS = 3  # from which on the spread over seeds is estimated; two say too little


@dataclass(frozen=True)
class Interval:
    """A 95 % interval of a share, or of a difference of two shares; `kind` says what it holds for."""

    low: float
    high: float
    kind: str


THIS_NETWORK = "this trained network only"
THESE_NETWORKS = "these trained networks only"
IMAGES_AND_SEEDS = "images and seeds"


def wilson_interval(correct: float, images: int) -> Interval:
    """Return the score interval of a share of images (Wilson 1927, J. Am. Stat. Assoc. 22:209)."""
    from scipy.stats import binomtest

    interval = binomtest(round(correct), images).proportion_ci(LEVEL, method="wilson")
    return Interval(float(interval.low), float(interval.high), THIS_NETWORK)


def accuracy_interval(correct: CorrectMatrix) -> Interval:
    """Return the interval of the accuracy: of one network on new images, or of new seeds on new images.

    For one network it is Wilson's. For several, images and seeds are crossed random effects of a two-way layout without
    replication. The variance of the grand mean is estimated from its mean squares (Searle, Casella and McCulloch 1992,
    Variance Components, ch. 4), the seeds' part only where it is positive, its degrees of freedom by Satterthwaite
    (1946, Biometrics Bull. 2:110), and the interval is that of Student's t on the logit scale, so that it stays between
    0 and 1. Two seeds do not tell the spread over seeds: theirs holds for these networks alone.

    Args:
        correct: of shape (seeds, images).
    """
    seeds, images = correct.shape
    mean = float(correct.mean())
    if seeds == 1:
        return wilson_interval(mean * images, images)
    kind = IMAGES_AND_SEEDS if seeds >= FEWEST_SEEDS else THESE_NETWORKS
    if images == 1:  # which tells nothing of another
        return Interval(0.0, 1.0, kind)
    by_image, _, residual = _mean_squares(correct)
    terms = [(max(by_image, residual) / correct.size, images - 1.0)]
    if kind == IMAGES_AND_SEEDS:
        terms += _spread_over_seeds(correct)
    variance, freedom = _satterthwaite(terms)
    if variance == 0:  # all right, or all wrong: the networks say the same of every image
        return replace(wilson_interval(mean * images, images), kind=kind)
    from scipy.special import expit, logit

    reach = _quantile(max(freedom, seeds - 1)) * np.sqrt(variance) / (mean * (1 - mean))
    return Interval(float(expit(logit(mean) - reach)), float(expit(logit(mean) + reach)), kind)


def _mean_squares(correct: CorrectMatrix) -> tuple[float, float, float]:
    """Return the mean squares of images, of seeds, and of what is left."""
    seeds, images = correct.shape
    mean = correct.mean()
    by_image = seeds * ((correct.mean(axis=0) - mean) ** 2).sum()
    by_seed = images * ((correct.mean(axis=1) - mean) ** 2).sum()
    left = max(((correct - mean) ** 2).sum() - by_image - by_seed, 0.0)
    return float(by_image / (images - 1)), float(by_seed / (seeds - 1)), float(left / ((images - 1) * (seeds - 1)))


def _spread_over_seeds(correct: CorrectMatrix) -> list[tuple[float, float]]:
    """Return what the seeds add to the variance of the mean, with degrees of freedom; nothing if it is not positive."""
    seeds, images = correct.shape
    _, by_seed, residual = _mean_squares(correct)
    if by_seed <= residual:
        return []
    return [(by_seed / correct.size, seeds - 1.0), (-residual / correct.size, (images - 1.0) * (seeds - 1.0))]


def _satterthwaite(terms: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the sum of terms (scaled mean square, its degrees of freedom), and the sum's degrees of freedom."""
    total = sum(square for square, _ in terms)
    spread = sum(square**2 / degrees for square, degrees in terms)
    return total, total**2 / spread if spread else 1.0


def _quantile(freedom: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + LEVEL) / 2))


@dataclass(frozen=True)
class PairedComparison:
    """What one way to use a network does that another does not, on the same images.

    Attributes:
        corrected: images that the new way gets right and the old one wrong; a mean over all pairs of their networks.
        spoiled: the other way round.
        difference: of the accuracies, new minus old, -1..1.
        p: two-sided, before any correction for other comparisons.
        networks: how many there are of the new and of the old way.
    """

    corrected: float
    spoiled: float
    difference: float
    interval: Interval
    p: float
    images: int
    networks: tuple[int, int]

    @property
    def seeds_unknown(self) -> bool:
        """Whether nothing is known of how other seeds would have done."""
        return self.interval.kind != IMAGES_AND_SEEDS


def compare(
    new: CorrectMatrix, old: CorrectMatrix, *, new_is_fixed: bool = False, old_is_fixed: bool = False
) -> PairedComparison:
    """Compare two ways to use a network, paired by image.

    Single networks are compared by McNemar's exact test and Tango's interval; several by Student's t of the difference,
    whose variance has parts of the images, adjusted as for single networks (Agresti and Min 2005, Stat. Med. 24:729),
    and of each side's seeds, as in `accuracy_interval`; the seeds of the two sides are not paired. Where the spread
    over seeds cannot be told, the result holds for these networks alone.

    Args:
        new: of shape (networks, images).
        old: of shape (networks, images), the same images in the same order.
        new_is_fixed: whether the new way has no seed, as a network that nobody trained here.
        old_is_fixed: the same of the old way.
    """
    images = new.shape[1]
    right_new, right_old = new.mean(axis=0), old.mean(axis=0)
    corrected = float((right_new * (1 - right_old)).sum())
    spoiled = float((right_old * (1 - right_new)).sum())
    if len(new) == len(old) == 1:
        interval, p = tango_interval(round(corrected), round(spoiled), images), mcnemar(corrected, spoiled)
    else:
        sides = ((new, new_is_fixed), (old, old_is_fixed))
        over_seeds = all(fixed or len(side) >= FEWEST_SEEDS for side, fixed in sides)
        interval, p = _compare_several(new, old, over_seeds)
    difference = float(new.mean() - old.mean())
    return PairedComparison(corrected, spoiled, difference, interval, p, images, (len(new), len(old)))


def mcnemar(corrected: float, spoiled: float) -> float:
    """Return the p-value of the exact conditional test (McNemar 1947, Psychometrika 12:153), which is conservative."""
    from scipy.stats import binomtest

    disagreed = round(corrected) + round(spoiled)
    return float(binomtest(round(corrected), disagreed).pvalue) if disagreed else 1.0


def tango_interval(corrected: int, spoiled: int, images: int, level: float = LEVEL) -> Interval:
    """Return the score interval for the difference of paired shares (Tango 1998, Stat. Med. 17:891)."""
    from scipy.optimize import brentq
    from scipy.stats import norm

    observed = (corrected - spoiled) / images
    reach = float(norm.ppf((1 + level) / 2))

    def score(difference: float) -> float:
        """Return how many standard errors the observation lies above a true difference."""
        a = 2 * images
        b = (2 * images - corrected + spoiled) * difference - corrected - spoiled
        c = -spoiled * difference * (1 - difference)
        only_old = (np.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)  # its most likely share, given the difference
        variance = images * (2 * only_old + difference * (1 - difference))
        distance = images * (observed - difference)
        if variance <= 0:
            return 0.0 if distance == 0 else float(np.copysign(np.inf, distance))
        return float(distance / np.sqrt(variance))

    edge = 1 - 1e-12
    low = brentq(lambda d: score(d) - reach, -edge, observed) if observed > -1 else -1.0
    high = brentq(lambda d: score(d) + reach, observed, edge) if observed < 1 else 1.0
    return Interval(float(low), float(high), THIS_NETWORK)


def _compare_several(new: CorrectMatrix, old: CorrectMatrix, over_seeds: bool) -> tuple[Interval, float]:
    from scipy.special import stdtr

    kind = IMAGES_AND_SEEDS if over_seeds else THESE_NETWORKS
    by_image = new.mean(axis=0) - old.mean(axis=0)
    # Half an image more that is corrected, half a one that is spoiled and one that is neither: else few disagreements
    # would pass for certainty.
    count = len(by_image) + 2
    difference = float(by_image.sum() / count)
    squares = float((by_image**2).sum()) + 1 - count * difference**2
    terms = [(squares / (count - 1) / count, count - 1.0)]
    several = [side for side in (new, old) if len(side) > 1]
    if over_seeds and new.shape[1] > 1:
        terms += [term for side in several for term in _spread_over_seeds(side)]
    variance, freedom = _satterthwaite(terms)
    freedom = max(freedom, min(map(len, several)) - 1)
    error = float(np.sqrt(variance))
    reach = _quantile(freedom) * error
    interval = Interval(max(difference - reach, -1.0), min(difference + reach, 1.0), kind)
    return interval, float(2 * stdtr(freedom, -abs(difference) / error))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for there being several (Holm 1979, Scand. J. Stat. 6:65)."""
    order = np.argsort(p_values)
    scaled = np.take(p_values, order) * np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return corrected.tolist()


def smallest_difference(spoil_rate: float, images: int) -> float | None:
    """Return the smallest true difference that the exact McNemar test finds with 80 % power, 0..1.

    The number of images about which two networks disagree is binomial, and so is its part that the new one corrects
    (Lachenbruch 1992, Stat. Med. 11:1521).

    Args:
        spoil_rate: share of the images that the new network spoils, 0..1.
        images: how many there are.

    Returns:
        A multiple of one image; None if no difference would be found.
    """
    rates = np.arange(1, images + 1) / images
    rates = rates[rates + 2 * spoil_rate <= 1]
    # Power grows with the difference, so the first that suffices is found by bisection.
    first = bisect_left(rates, POWER, key=lambda rate: _power(rate + spoil_rate, spoil_rate, images))
    return float(rates[first]) if first < len(rates) else None


def _power(correct_rate: float, spoil_rate: float, images: int) -> float:
    """Return the chance that the exact test rejects in favour of the new network."""
    from scipy.stats import binom

    disagreed = np.arange(images + 1)
    chance = binom.pmf(disagreed, images, correct_rate + spoil_rate)
    most_spoiled = binom.ppf((1 - LEVEL) / 2, disagreed, 0.5)
    too_likely = binom.cdf(most_spoiled, disagreed, 0.5) > (1 - LEVEL) / 2
    most_spoiled = most_spoiled - too_likely  # the most for which twice the tail is at most 1 - LEVEL
    share = spoil_rate / (correct_rate + spoil_rate)
    return float((chance * binom.cdf(most_spoiled, disagreed, share)).sum())


@dataclass(frozen=True)
class Reliability:
    """How sure networks were, and how often right, in bins of equal width of the confidence.

    Attributes:
        confidence: mean of each bin that is not empty, 0..1, of shape (bins,), as of `accuracy` and `count`.
        error: the expected calibration error, 0..1.
    """

    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    count: NDArray[np.int64]
    error: float


def reliability(confidence: NDArray[np.float64], correct: NDArray[np.float64], bins: int = 15) -> Reliability:
    """Bin predictions of any shape by their confidence (Guo et al. 2017, arXiv:1706.04599, section 2)."""
    confidence, correct = confidence.ravel(), correct.ravel()
    which = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)  # a bin holds its upper edge
    count = np.bincount(which, minlength=bins)
    some = count > 0
    mean_confidence = np.bincount(which, confidence, bins)[some] / count[some]
    accuracy = np.bincount(which, correct, bins)[some] / count[some]
    error = float((count[some] / len(confidence) * np.abs(accuracy - mean_confidence)).sum())
    return Reliability(mean_confidence, accuracy, count[some], error)
