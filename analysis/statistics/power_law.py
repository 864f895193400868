"""The curve that errors follow as networks see more, where they allow it: a power law above a floor.

Hestness et al. 2017, arXiv:1712.00409; Viering and Loog 2022, IEEE Trans. Pattern Anal. Mach. Intell. 45:7799.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_FEWEST = 5  # amounts: three numbers are fitted, and two at least must be left to speak against them
_EXPONENTS = np.geomspace(0.05, 5.0, 100)
_LEAST_CHANCE = 0.05


@dataclass(frozen=True)
class PowerLaw:
    """error = floor + scale * amount ** -exponent."""

    floor: float
    scale: float
    exponent: float

    def accuracy(self, amounts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what is expected at some amounts, 0..1."""
        return np.clip(1 - self.floor - self.scale * amounts**-self.exponent, 0.0, 1.0)


def fit_power_law(amounts: Sequence[float], accuracies: Sequence[float], errors: Sequence[float]) -> PowerLaw | None:
    """Return the power law nearest to some accuracies, or None where it would say more than they do.

    That is so for fewer than five amounts, where errors do not fall, and where the accuracies lie further from it than
    chance would have them (chi-squared test, 5 %).

    Args:
        amounts: above 0.
        accuracies: means, 0..1.
        errors: standard error of each accuracy, of what differs between amounts: the networks, not the images.
    """
    from scipy.optimize import nnls
    from scipy.special import chdtrc

    if len(amounts) < _FEWEST or not all(error > 0 for error in errors):
        return None
    x, missed, weights = np.asarray(amounts), 1 - np.asarray(accuracies), 1 / np.asarray(errors)
    fits = []
    for exponent in _EXPONENTS:
        design = np.stack([np.ones_like(x), x**-exponent], axis=1)
        (floor, scale), distance = nnls(design * weights[:, None], missed * weights)
        fits.append((float(distance) ** 2, PowerLaw(float(floor), float(scale), float(exponent))))
    distance, best = min(fits, key=lambda fit: fit[0])
    is_near = chdtrc(len(amounts) - 3, distance) >= _LEAST_CHANCE
    return best if best.scale > 0 and is_near else None
