"""Intervals of an accuracy: against library values, and by simulation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from generators import (
    GENERATORS,
    IMAGES,
    UNEQUAL,
    AlwaysWrong,
    CollapsedSeeds,
    NormalLogits,
    coverages,
    covers_in_groups,
    networks,
)
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.regression.mixed_linear_model import MixedLM
from statsmodels.stats.proportion import proportion_confint

from analysis.statistics import (
    IMAGES_AND_SEEDS,
    THIS_NETWORK,
    accuracy_interval,
    new_seed_interval,
    wilson_interval,
)
from analysis.statistics.variance import chance_beyond, mean_squares, seed_variance


def test_one_network_has_wilsons_interval() -> None:
    for right in (0, 1, 146, IMAGES):
        interval = accuracy_interval(networks(right))
        library = stats.binomtest(right, IMAGES).proportion_ci(method="wilson")
        assert (interval.low, interval.high) == pytest.approx((library.low, library.high), abs=1e-9)
        assert (interval.low, interval.high) == pytest.approx(
            proportion_confint(right, IMAGES, method="wilson"), abs=1e-9
        )
        assert interval.kind == THIS_NETWORK


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize(("seeds", "images"), [(3, 153), (10, 50), (30, 153)])
def test_an_interval_over_seeds_covers_the_truth(name: str, seeds: int, images: int) -> None:
    """0.05 is what 200 rounds may take by chance; tests/generators.py counts more of them."""
    draw = GENERATORS[name]
    for accuracy in (0.8,) if isinstance(draw, CollapsedSeeds) else (0.8, 0.95, 0.99):
        rate, new_rate, _ = coverages(draw, accuracy, seeds, images, rounds=200)
        least = 0.7 if isinstance(draw, CollapsedSeeds) and seeds == 3 else 0.92  # three seeds may all be sound
        assert rate >= least - 0.05
        assert new_rate >= min(least, 0.9) - 0.05


@pytest.mark.parametrize(("images", "seeds"), [(50, 30), (153, 10), (153, 30)])
def test_it_covers_99_percent_where_a_few_images_are_always_wrong(images: int, seeds: int) -> None:
    rate, _, _ = coverages(AlwaysWrong(0.001), 0.99, seeds, images, rounds=400)
    assert rate >= 0.92 - 0.04


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(2, 200), st.floats(0.3, 1))
def test_it_is_never_narrower_than_that_of_one_network_on_the_same_images(
    seed: int, seeds: int, images: int, rate: float
) -> None:
    random = np.random.default_rng(seed)
    correct = (random.random((seeds, images)) < rate * random.uniform(0.9, 1, (seeds, 1))).astype(np.float64)
    interval, one = accuracy_interval(correct), wilson_interval(float(correct.mean()) * images, images)
    assert 0 <= interval.low <= one.low + 1e-9
    assert 1 >= interval.high >= one.high - 1e-9
    new = new_seed_interval(correct)
    assert new is None or (new.low <= interval.low + 1e-9 and new.high >= interval.high - 1e-9)


def test_few_errors_of_many_seeds_are_no_certainty() -> None:
    """Nine errors of thirty seeds on nine different images: one flawless network has [97.55, 100]."""
    correct = networks(*[IMAGES] * 30)
    correct[range(9), range(9)] = 0
    interval = accuracy_interval(correct)
    assert (interval.low, interval.high) == pytest.approx((0.972, 0.9999), abs=1e-3)


@pytest.mark.parametrize("images", range(148, 156))
def test_nothing_jumps_where_the_mean_squares_are_equal(images: int) -> None:
    """One error anywhere makes them so, and rounding decided."""
    one_error = accuracy_interval(networks(images, images, images - 1, images=images))
    reference = accuracy_interval(networks(150, 150, 149, images=150))
    assert (one_error.low, one_error.high) == pytest.approx((reference.low, reference.high), abs=0.004)


def test_seeds_that_dominate_make_students_t() -> None:
    correct = networks(100_000, 110_000, 117_000, images=200_000)
    variance = seed_variance(correct)
    error = float(correct.mean(axis=1).std(ddof=1)) / np.sqrt(3)
    for level in (0.9, 0.95, 0.999):
        distance = float(stats.t.ppf((1 + level) / 2, 2)) * error
        assert chance_beyond(distance, variance) == pytest.approx(1 - level, rel=0.02)


def test_mean_squares_are_those_of_a_mixed_model() -> None:
    correct, _ = NormalLogits(1.5, 0.8)(np.random.default_rng(3), 0.8, 6, IMAGES)
    by_seed, residual = mean_squares(correct)
    seeds, images = np.indices(correct.shape)
    groups = np.zeros(correct.size)
    parts = {"seed": "0 + C(seed)", "image": "0 + C(image)"}
    data = pd.DataFrame({"right": correct.ravel(), "seed": seeds.ravel(), "image": images.ravel()})
    model = MixedLM.from_formula("right ~ 1", groups=groups, vc_formula=parts, re_formula="0", data=data)
    fitted = model.fit(reml=True)
    variances = dict(zip(model.exog_vc.names, fitted.vcomp, strict=True))  # REML is the same for balanced data
    assert fitted.scale == pytest.approx(residual, rel=1e-3)
    assert variances["seed"] == pytest.approx((by_seed - residual) / IMAGES, rel=1e-2)


def test_networks_without_an_error_have_an_interval_all_the_same() -> None:
    interval = accuracy_interval(networks(IMAGES, IMAGES, IMAGES))
    assert (interval.low, interval.high) == pytest.approx((0.9755, 1.0), abs=1e-4)
    assert interval.kind == IMAGES_AND_SEEDS


def test_one_more_seed_is_told_from_three() -> None:
    assert new_seed_interval(networks(140, 146)) is None
    mean, new = accuracy_interval(networks(140, 146, 147)), new_seed_interval(networks(140, 146, 147))
    assert new is not None
    assert new.low < mean.low < mean.high < new.high <= 1


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize(("size", "alike"), [(2, 0.7), (2, 1.0), (4, 0.7), (4, 1.0)])
def test_images_in_groups_are_covered(seeds: int, size: int, alike: float) -> None:
    assert covers_in_groups(seeds, [size] * 50, alike, rounds=400) >= 0.92 - 0.03


@pytest.mark.parametrize("name", UNEQUAL)
def test_few_large_groups_among_small_ones_are_covered(name: str) -> None:
    assert covers_in_groups(1, UNEQUAL[name], 1.0, rounds=400) >= 0.92 - 0.03


def test_groups_without_an_error_count_as_one_image_each() -> None:
    names = np.repeat(np.arange(30), 5).astype(str)
    interval = accuracy_interval(networks(150, images=150), groups=names)
    library = stats.t.ppf(0.975, 29) ** 2 / (30 + stats.t.ppf(0.975, 29) ** 2)
    assert interval.low == pytest.approx(1 - library, abs=1e-6)
