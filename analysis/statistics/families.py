"""Several comparisons at once: p-values, and the levels of intervals that go with them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

ALPHA = 0.05
"""How often one of a family of comparisons that are all without a difference may be called different."""


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for there being several (Holm 1979, Scand. J. Stat. 6:65)."""
    order = np.argsort(p_values)
    scaled = np.take(p_values, order) * np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return corrected.tolist()


def levels(p_values: Sequence[float]) -> list[float]:
    """Return the level of each comparison's interval: it is without zero where Holm's p is below 5 %, and only there.

    It is Bonferroni's; where Holm's test needs less to reject, its step's. Holm's test spends the 5 % on what is
    without a difference, Bonferroni's part of it is spent on the others, so that one of m intervals misses in
    5 (2 - 1/m) % at most; none that agree with Holm's test do better and still tell how large a difference is (Guilbaud
    2008, Biom. J. 50:678).
    """
    count = len(p_values)
    strictest = ALPHA / count if count else ALPHA
    rejected = [corrected < ALPHA for corrected in holm(p_values)]
    chances = dict.fromkeys(p_values, strictest)  # the same of equal p
    for step, index in enumerate(np.argsort(p_values)):
        if rejected[index] and p_values[index] >= strictest:
            chances[p_values[index]] = ALPHA / (count - step)
    return [1 - chances[p] for p in p_values]
