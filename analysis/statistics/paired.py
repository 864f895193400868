"""Compare two ways to use a network that were evaluated on the same images; the test is the interval's own."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.intervals import IMAGES_AND_SEEDS, LEVEL, THESE_NETWORKS, THIS_NETWORK, Interval
from analysis.statistics.variance import (
    FEWEST_SEEDS,
    NONE,
    CorrectMatrix,
    Groups,
    Variance,
    chance_beyond,
    edge,
    group_freedom,
    group_numbers,
    mean_group_size,
    relative_spread,
    seed_variance,
)


@dataclass(frozen=True)
class PairedComparison:
    """What one way to use a network does that another does not, on the same images.

    Attributes:
        corrected: images that the new way gets right and the old one wrong; a mean over all pairs of their networks.
        spoiled: the other way round.
        difference: of the accuracies, new minus old, -1..1.
        interval: of the difference; it is without zero where `p` is below 1 - `level`, and only there.
        p: two-sided, before any correction for other comparisons; above 0.
        networks: how many there are of the new and of the old way.
        groups: how many independent groups of images there are.
    """

    corrected: float
    spoiled: float
    difference: float
    interval: Interval
    p: float
    images: int
    networks: tuple[int, int]
    groups: int
    level: float = LEVEL

    @property
    def seeds_unknown(self) -> bool:
        """Whether nothing is known of how other seeds would have done."""
        return self.interval.kind != IMAGES_AND_SEEDS


def compare(
    new: CorrectMatrix,
    old: CorrectMatrix,
    *,
    new_is_fixed: bool = False,
    old_is_fixed: bool = False,
    groups: Groups | None = None,
    level: float = LEVEL,
) -> PairedComparison:
    """Compare two ways to use a network, paired by image.

    Single networks are compared by McNemar's score test (1947, Psychometrika 12:153) and the interval that consists of
    the differences which this test does not reject, Tango's. Several networks, or images in groups, are compared by the
    difference and its error, whose variance has parts of the images, adjusted as for single networks (Agresti and Min
    2005, Stat. Med. 24:729), by groups where there are some (Liang and Zeger 1986, Biometrika 73:13), and of each
    side's seeds, as in `accuracy_interval`; the seeds of the two sides are not paired. Where the spread over seeds
    cannot be told, the result holds for these networks alone.

    Args:
        new: of shape (networks, images).
        old: of shape (networks, images), the same images in the same order.
        new_is_fixed: whether the new way has no seed, as a network that nobody trained here.
        old_is_fixed: the same of the old way.
        groups: of shape (images,): which images are not independent of each other.
        level: of the interval.
    """
    return PairedTest.of(new, old, new_is_fixed, old_is_fixed, groups).at(level)


@dataclass(frozen=True)
class PairedTest:
    """The test of a comparison before its interval, which takes longest, is asked for at some level."""

    counts: tuple[float, float]
    difference: float
    images: int
    networks: tuple[int, int]
    groups: int
    error: _Error | None

    @classmethod
    def of(
        cls, new: CorrectMatrix, old: CorrectMatrix, new_is_fixed: bool, old_is_fixed: bool, groups: Groups | None
    ) -> PairedTest:
        """Prepare what `compare` does."""
        images = new.shape[1]
        numbers = group_numbers(groups, images)
        right_new, right_old = new.mean(axis=0), old.mean(axis=0)
        independent = int(numbers.max()) + 1
        single = len(new) == len(old) == 1 and independent == images
        return cls(
            counts=(float((right_new * (1 - right_old)).sum()), float((right_old * (1 - right_new)).sum())),
            difference=float(new.mean() - old.mean()),
            images=images,
            networks=(len(new), len(old)),
            groups=independent,
            error=None if single else _Error.of(new, old, new_is_fixed, old_is_fixed, numbers),
        )

    @cached_property
    def p(self) -> float:
        """Two-sided; above 0."""
        p = mcnemar(*self.counts) if self.error is None else self.error.chance(0.0)
        return min(max(p, sys.float_info.min), 1.0)

    def at(self, level: float) -> PairedComparison:
        """Return the comparison with an interval of some level."""
        corrected, spoiled = self.counts
        if self.error is None:
            interval = tango_interval(round(corrected), round(spoiled), self.images, level)
        else:
            interval = self.error.interval(level)
        return PairedComparison(
            corrected=corrected,
            spoiled=spoiled,
            difference=self.difference,
            interval=interval,
            p=self.p,
            images=self.images,
            networks=self.networks,
            groups=self.groups,
            level=level,
        )


@dataclass(frozen=True)
class _Error:
    """What is known of the error of a difference.

    Attributes:
        means: of the two sides, 0..1.
        observed: the difference, adjusted for few disagreements.
        over_images: variance that the draw of the images gives.
        over_seeds: of the two sides.
        freedom: of `over_images`.
        independent: so many images, if those of a group are one.
        kind: what an interval holds for.
    """

    means: tuple[float, float]
    observed: float
    over_images: float
    over_seeds: tuple[Variance, Variance]
    freedom: float
    images: int
    independent: float
    kind: str

    @classmethod
    def of(
        cls, new: CorrectMatrix, old: CorrectMatrix, new_is_fixed: bool, old_is_fixed: bool, numbers: NDArray[np.int64]
    ) -> _Error:
        by_image = new.mean(axis=0) - old.mean(axis=0)
        # Half a group more that is corrected, half a one that is spoiled and one that is neither: else few
        # disagreements would pass for certainty.
        size = mean_group_size(numbers)
        count, independent = len(by_image) + 2 * size, int(numbers.max()) + 3
        observed = float(by_image.sum() / count)
        residuals = np.bincount(numbers, by_image - observed)
        squares = float((residuals**2).sum()) + size**2 * (1 + 2 * observed**2)
        sides = ((new, new_is_fixed), (old, old_is_fixed))
        over_seeds = all(is_fixed or len(side) >= FEWEST_SEEDS for side, is_fixed in sides)
        several = len(new) > 1 or len(old) > 1
        first, second = (seed_variance(side) if over_seeds and not is_fixed else NONE for side, is_fixed in sides)
        return cls(
            means=(float(new.mean()), float(old.mean())),
            observed=observed,
            over_images=squares * independent / (independent - 1) / count**2,
            over_seeds=(first, second),
            freedom=group_freedom(numbers) + 2,
            images=len(by_image),
            independent=len(by_image) / size,
            kind=THIS_NETWORK if not several else IMAGES_AND_SEEDS if over_seeds else THESE_NETWORKS,
        )

    def chance(self, difference: float) -> float:
        """Return the p-value of a true difference.

        If it were true, the sides with seeds would lie as far apart, and the networks might disagree about so many
        images; that few disagreements were seen does not rule it out.
        """
        distance = self.observed - difference
        seeded = [not variance.is_zero for variance in self.over_seeds]
        variance = NONE + max(self.over_images, (abs(difference) - difference**2) / self.independent)
        for over_seeds, mean, sign, has_seeds in zip(self.over_seeds, self.means, (-1, 1), seeded, strict=True):
            if has_seeds:
                share = min(max(mean + sign * distance / sum(seeded), 0.0), 1.0)
                variance = variance + over_seeds.times(relative_spread(share, mean, self.images))
        return chance_beyond(abs(distance), variance, self.freedom)

    def interval(self, level: float) -> Interval:
        """Return the differences that the test does not reject."""
        low, high = (edge(self.chance, self.observed, end, level) for end in (-1.0, 1.0))
        return Interval(low, high, self.kind)


def mcnemar(corrected: float, spoiled: float) -> float:
    """Return the p-value of the score test (McNemar 1947, Psychometrika 12:153), without a correction of continuity.

    It rejects slightly more often than its level at worst (Fagerland, Lydersen and Laake 2013, BMC Med. Res. Methodol.
    13:91), where the exact test rejects far less often, and it is the test of Tango's interval.
    """
    from scipy.special import ndtr

    disagreed = corrected + spoiled
    return float(2 * ndtr(-abs(corrected - spoiled) / np.sqrt(disagreed))) if disagreed else 1.0


def tango_interval(corrected: int, spoiled: int, images: int, level: float = LEVEL) -> Interval:
    """Return the score interval for the difference of paired shares (Tango 1998, Stat. Med. 17:891)."""
    from scipy.optimize import brentq
    from scipy.special import ndtri

    observed = (corrected - spoiled) / images
    quantile = float(ndtri((1 + level) / 2))

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

    furthest = 1 - 1e-12
    low = brentq(lambda d: score(d) - quantile, -furthest, observed) if observed > -1 else -1.0
    high = brentq(lambda d: score(d) + quantile, observed, furthest) if observed < 1 else 1.0
    return Interval(float(low), float(high), THIS_NETWORK)
