"""Several comparisons at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from statsmodels.stats.multitest import multipletests

from analysis.statistics import holm, levels


def test_holms_correction_is_the_one_of_the_paper() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.03]) == [0.03]


def test_holms_correction_is_that_of_the_library() -> None:
    random = np.random.default_rng(0)
    for count in (1, 2, 7, 30):
        p_values = [*random.random(count) ** 3, 0.0, 1.0, 0.01, 0.01]
        assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


@given(st.lists(st.floats(1e-300, 1), min_size=1, max_size=12))
def test_a_level_decides_as_holms_p_does(p_values: list[float]) -> None:
    for p, corrected, level in zip(p_values, holm(p_values), levels(p_values), strict=True):
        if abs(corrected - 0.05) > 1e-9:
            assert (p < 1 - level) == (corrected < 0.05)
        assert level >= 0.95


@pytest.mark.parametrize(
    ("effects", "least"),
    [
        ((0, 0, 0, 0, 0), 0.93),
        ((9, 9, 9, 9, 9), 0.93),
        ((2.5, 2.5, 2.5, 0, 0), 0.93),
        ((9, 9, 2.3, 2.3, 2.3), 0.93),
        ((9, 9, 9, 9, 0), 0.91 - 0.01),  # the bound, 0.95 - 0.05 (1 - 1/m), and some luck
        ((9, 0), 0.925 - 0.01),
    ],
)
def test_intervals_of_a_family_hold_together_nearly_as_often_as_bonferronis(
    effects: tuple[float, ...], least: float
) -> None:
    """Those that Holm's later steps decide are narrower: so often may one of these, or one of the others, miss."""
    random, rounds = np.random.default_rng(0), 4000
    held = 0
    for _ in range(rounds):
        observed = random.normal(effects)
        chosen = levels((2 * norm.sf(np.abs(observed))).tolist())
        reach = norm.ppf((1 + np.array(chosen)) / 2)
        held += bool((np.abs(observed - effects) <= reach).all())
    assert held / rounds >= least
