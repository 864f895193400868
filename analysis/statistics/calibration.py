"""How sure networks were, and how often right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_DRAWS = 200
_MOST_DRAWN = 4_000_000  # outcomes in memory at once; so many images leave little to chance


@dataclass(frozen=True)
class Reliability:
    """How sure networks were, and how often right, in bins of equal width of the confidence.

    Attributes:
        confidence: mean of each bin that is not empty, 0..1, of shape (bins,), as of `accuracy` and `count`.
        error: the expected calibration error, 0..1; of several networks the mean of theirs.
        error_by_chance: what it would be on average if the networks were as often right as they are sure.
    """

    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    count: NDArray[np.int64]
    error: float
    error_by_chance: float


def reliability(confidence: NDArray[np.float64], correct: NDArray[np.float64], bins: int = 15) -> Reliability:
    """Bin predictions by their confidence (Guo et al. 2017, arXiv:1706.04599, section 2).

    On few images even a perfectly calibrated network is more or less often right than it is sure; by how much is found
    by drawing whether it is (consistency resampling, Broecker and Smith 2007, Weather Forecast. 22:651).

    Args:
        confidence: of shape (networks, images), or of one network (images,).
        correct: of the same shape, zeros and ones.
        bins: how many there are between 0 and 1.
    """
    confidence, correct = np.atleast_2d(confidence), np.atleast_2d(correct)
    bin_of = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)  # a bin holds its upper edge
    count = np.bincount(bin_of.ravel(), minlength=bins)
    some = count > 0
    mean_confidence = np.bincount(bin_of.ravel(), confidence.ravel(), bins)[some] / count[some]
    accuracy = np.bincount(bin_of.ravel(), correct.ravel(), bins)[some] / count[some]
    random, draws = np.random.default_rng(0), max(min(_DRAWS, _MOST_DRAWN // confidence.shape[1]), 1)
    networks = list(zip(confidence, correct, bin_of, strict=True))
    error = np.mean([_calibration_error(c - r[None], b, bins) for c, r, b in networks])
    by_chance = [_calibration_error(c - (random.random((draws, len(c))) < c), b, bins) for c, _, b in networks]
    return Reliability(mean_confidence, accuracy, count[some], float(error), float(np.mean(by_chance)))


def _calibration_error(excess: NDArray[np.float64], bin_of: NDArray[np.int64], bins: int) -> NDArray[np.float64]:
    """Return the calibration error of each of some outcomes.

    Args:
        excess: of shape (outcomes, images), how much surer than right a network was.
        bin_of: of shape (images,).
        bins: how many there are.
    """
    members = np.eye(bins)[bin_of]  # (images, bins)
    return np.asarray(np.abs(excess @ members).sum(axis=1) / len(bin_of))
