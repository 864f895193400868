"""Intervals of an accuracy, on new images and with new seeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.statistics.variance import (
    FEWEST_SEEDS,
    NONE,
    CorrectMatrix,
    Groups,
    Variance,
    chance_beyond,
    design_effect,
    edge,
    group_freedom,
    group_numbers,
    relative_spread,
    seed_variance,
)

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """An interval of a share, or of a difference of two shares; `kind` says what it holds for."""

    low: float
    high: float
    kind: str


THIS_NETWORK = "this trained network only"
THESE_NETWORKS = "these trained networks only"
IMAGES_AND_SEEDS = "images and seeds"
NEW_SEED = "one more seed"


def wilson_interval(correct: float, images: int) -> Interval:
    """Return the score interval of a share of images (Wilson 1927, J. Am. Stat. Assoc. 22:209)."""
    low, high = _score_interval(correct / images, images, NONE)
    return Interval(low, high, THIS_NETWORK)


def accuracy_interval(correct: CorrectMatrix, *, groups: Groups | None = None) -> Interval:
    """Return the interval of the accuracy: of one network on new images, or of the mean over seeds and images.

    A share belongs to it unless the mean lies too far from it, as in Wilson's interval: with the variance that the
    images would give if it were true, and with what the seeds would add (see variance.py). Seeds
    that were evaluated on the same images are no new images, so that it is never narrower than Wilson's interval of the
    mean on the number of images. Two seeds do not tell the spread over seeds: theirs holds for these networks alone.

    Args:
        correct: of shape (seeds, images).
        groups: of shape (images,): which images are not independent of each other.
    """
    seeds = len(correct)
    kind = THIS_NETWORK if seeds == 1 else IMAGES_AND_SEEDS if seeds >= FEWEST_SEEDS else THESE_NETWORKS
    over_seeds = seed_variance(correct) if kind == IMAGES_AND_SEEDS else NONE
    return Interval(*_interval(correct, over_seeds, groups), kind)


def new_seed_interval(correct: CorrectMatrix, *, groups: Groups | None = None) -> Interval | None:
    """Return where the accuracy on new images of one more seed lies, with 95 % chance; None for fewer than three seeds.

    Args:
        correct: of shape (seeds, images).
        groups: as for `accuracy_interval`.
    """
    seeds = len(correct)
    if seeds < FEWEST_SEEDS:
        return None
    of_the_mean = seed_variance(correct)  # and so often for each seed as there are seeds
    return Interval(*_interval(correct, of_the_mean.times(1 + seeds), groups), NEW_SEED)


def _interval(correct: CorrectMatrix, over_seeds: Variance, groups: Groups | None) -> tuple[float, float]:
    images = correct.shape[1]
    numbers = group_numbers(groups, images)
    independent = int(numbers.max()) + 1
    if independent == 1 and correct.size > 1:  # which tells nothing of another
        return 0.0, 1.0
    effective = images / design_effect(correct.mean(axis=0), numbers)
    freedom = group_freedom(numbers) if independent < images else np.inf
    return _score_interval(float(correct.mean()), effective, over_seeds, freedom)


def _score_interval(mean: float, images: float, over_seeds: Variance, freedom: float = np.inf) -> tuple[float, float]:
    """Return the least and the largest share from which the mean does not lie too far."""

    def chance(share: float) -> float:
        spread = over_seeds.times(relative_spread(share, mean, images))
        return chance_beyond(abs(mean - share), spread + share * (1 - share) / images, freedom)

    return edge(chance, mean, 0.0, LEVEL), edge(chance, mean, 1.0, LEVEL)
