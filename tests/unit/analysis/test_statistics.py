"""Intervals and tests: against published and library values, and by simulation."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, special, stats
from statsmodels.regression.mixed_linear_model import MixedLM
from statsmodels.stats import contingency_tables
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from analysis import statistics
from analysis.statistics import (
    IMAGES_AND_SEEDS,
    THESE_NETWORKS,
    THIS_NETWORK,
    CorrectMatrix,
    accuracy_interval,
    compare,
)

IMAGES = 153


def networks(*right: int, images: int = IMAGES) -> CorrectMatrix:
    """Return networks that are right about their first images."""
    return np.array([[1.0] * count + [0.0] * (images - count) for count in right])


@cache
def middle_of(accuracy: float, spread: float) -> float:
    """Return the mean of normal logits whose accuracy is given, by quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)

    def error(middle: float) -> float:
        return float((special.expit(middle + spread * nodes) * weights).sum() / weights.sum() - accuracy)

    return float(optimize.brentq(error, -50, 50))


def simulate(
    random: np.random.Generator, accuracy: float, seeds: int, image_spread: float, seed_spread: float
) -> CorrectMatrix:
    """Draw networks whose accuracy on new images and with new seeds is known; spreads are on the logit scale."""
    middle = middle_of(accuracy, float(np.hypot(image_spread, seed_spread)))
    logits = middle + image_spread * random.normal(size=(1, IMAGES)) + seed_spread * random.normal(size=(seeds, 1))
    return np.asarray(random.random((seeds, IMAGES)) < special.expit(logits), np.float64)


def test_one_network_has_wilsons_interval() -> None:
    interval = accuracy_interval(networks(146))
    library = stats.binomtest(146, IMAGES).proportion_ci(method="wilson")
    assert (interval.low, interval.high) == pytest.approx((library.low, library.high), abs=1e-12)
    assert (interval.low, interval.high) == pytest.approx(proportion_confint(146, IMAGES, method="wilson"))
    assert interval.kind == THIS_NETWORK


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("accuracy", [0.65, 0.87, 0.95])
@pytest.mark.parametrize(("image_spread", "seed_spread"), [(1.5, 0.3), (4.0, 0.0), (4.0, 0.5)])
def test_an_interval_over_seeds_covers_the_truth_in_95_of_100(
    seeds: int, accuracy: float, image_spread: float, seed_spread: float
) -> None:
    random = np.random.default_rng([seeds, round(100 * accuracy), round(10 * image_spread)])
    rounds = 2000
    covered = 0
    for _ in range(rounds):
        interval = accuracy_interval(simulate(random, accuracy, seeds, image_spread, seed_spread))
        covered += interval.low <= accuracy <= interval.high
    assert 0.925 <= covered / rounds <= 0.97


def test_mean_squares_are_those_of_a_mixed_model() -> None:
    correct = simulate(np.random.default_rng(3), 0.8, 6, 1.5, 0.8)
    by_image, by_seed, residual = statistics._mean_squares(correct)
    seeds, images = np.indices(correct.shape)
    groups = np.zeros(correct.size)
    parts = {"seed": "0 + C(seed)", "image": "0 + C(image)"}
    data = pd.DataFrame({"right": correct.ravel(), "seed": seeds.ravel(), "image": images.ravel()})
    model = MixedLM.from_formula("right ~ 1", groups=groups, vc_formula=parts, re_formula="0", data=data)
    fitted = model.fit(reml=True)
    variances = dict(zip(model.exog_vc.names, fitted.vcomp, strict=True))  # REML is the same for balanced data
    assert fitted.scale == pytest.approx(residual, rel=1e-3)
    assert variances["image"] == pytest.approx((by_image - residual) / 6, rel=1e-2)
    assert variances["seed"] == pytest.approx((by_seed - residual) / IMAGES, rel=1e-2)


def test_networks_without_an_error_have_an_interval_all_the_same() -> None:
    interval = accuracy_interval(networks(IMAGES, IMAGES, IMAGES))
    assert (interval.low, interval.high) == pytest.approx((0.9755, 1.0), abs=1e-4)
    assert interval.kind == IMAGES_AND_SEEDS


def test_two_seeds_say_nothing_of_a_third() -> None:
    assert accuracy_interval(networks(140, 146)).kind == THESE_NETWORKS
    assert compare(networks(140, 146), networks(133), old_is_fixed=True).seeds_unknown


def test_mcnemars_test_is_the_exact_binomial_one() -> None:
    assert statistics.mcnemar(14, 1) == pytest.approx(32 / 2**15)
    assert statistics.mcnemar(0, 0) == 1
    assert statistics.mcnemar(7, 3) == pytest.approx(stats.binomtest(3, 10).pvalue)
    for corrected, spoiled in ((14, 1), (7, 3), (5, 5)):
        library = contingency_tables.mcnemar([[0, corrected], [spoiled, 0]], exact=True).pvalue
        assert statistics.mcnemar(corrected, spoiled) == pytest.approx(library)


def test_single_networks_that_are_alike_are_called_different_in_at_most_5_of_100() -> None:
    random = np.random.default_rng(0)
    rounds = 2000
    called = 0
    for _ in range(rounds):
        new, old = random.permuted(random.random((2, IMAGES)) < 0.9, axis=1).astype(np.float64)
        called += compare(new[None], old[None]).p <= 0.05
    assert called / rounds <= 0.055


@pytest.mark.parametrize(
    ("corrected", "spoiled", "images", "level", "published"),
    [
        (1, 7, 21, 0.95, (-0.517, -0.026)),  # Fagerland, Lydersen and Laake 2014, Stat. Med. 33:2850, Bentur's data
        (28, 25, 618, 0.90, (-0.0148, 0.0247)),  # R, PropCIs 0.3-0: scoreci.mp(25, 28, 618, 0.90)
    ],
)
def test_tangos_interval_is_the_published_one(
    corrected: int, spoiled: int, images: int, level: float, published: tuple[float, float]
) -> None:
    interval = statistics.tango_interval(corrected, spoiled, images, level)
    assert (interval.low, interval.high) == pytest.approx(published, abs=5e-4)
    mirrored = statistics.tango_interval(spoiled, corrected, images, level)
    assert (mirrored.low, mirrored.high) == pytest.approx((-interval.high, -interval.low))


@pytest.mark.parametrize(("corrected", "spoiled"), [(0, 0), (21, 0), (0, 21), (1, 0)])
def test_tangos_interval_at_the_edges_holds_what_was_seen(corrected: int, spoiled: int) -> None:
    interval = statistics.tango_interval(corrected, spoiled, 21)
    assert -1 <= interval.low <= (corrected - spoiled) / 21 <= interval.high <= 1
    assert interval.low < interval.high


def test_what_fine_tuning_corrects_and_spoils_is_counted_image_by_image() -> None:
    old = networks(133)
    new = old.copy()
    new[0, 133:147], new[0, 0] = 1, 0
    comparison = compare(new, old)
    assert (comparison.corrected, comparison.spoiled, comparison.images, comparison.networks) == (14, 1, IMAGES, (1, 1))
    assert comparison.difference == pytest.approx(13 / IMAGES)
    assert comparison.p == pytest.approx(0.000977, abs=1e-6)
    assert comparison.seeds_unknown


@pytest.mark.parametrize("seeds", [(3, 1), (5, 5)])
@pytest.mark.parametrize("accuracies", [(0.95, 0.95), (0.95, 0.87)])
def test_over_seeds_the_difference_is_covered_in_95_of_100(
    seeds: tuple[int, int], accuracies: tuple[float, float]
) -> None:
    random = np.random.default_rng(list(seeds))
    rounds = 1500
    covered = 0
    for _ in range(rounds):
        new = simulate(random, accuracies[0], seeds[0], 1.5, 0.3)
        old = simulate(random, accuracies[1], seeds[1], 1.5, 0.0 if seeds[1] == 1 else 0.3)
        comparison = compare(new, old, old_is_fixed=seeds[1] == 1)
        covered += comparison.interval.low <= accuracies[0] - accuracies[1] <= comparison.interval.high
        assert comparison.p >= 0.05 or not comparison.interval.low < 0 < comparison.interval.high
    assert 0.92 <= covered / rounds <= 0.98


@pytest.mark.parametrize("seeds", [3, 10])
@pytest.mark.parametrize("accuracy", [0.87, 0.95, 0.99])
def test_seeds_that_are_like_an_untouched_network_are_called_different_in_at_most_55_of_1000(
    seeds: int, accuracy: float
) -> None:
    random = np.random.default_rng([seeds, round(100 * accuracy)])
    rounds = 1500
    called = 0
    for _ in range(rounds):
        new, old = simulate(random, accuracy, seeds, 1.5, 0.3), simulate(random, accuracy, 1, 1.5, 0.0)
        called += compare(new, old, old_is_fixed=True).p <= 0.05
    assert called / rounds <= 0.055


def test_one_image_tells_nothing_of_another() -> None:
    interval = accuracy_interval(networks(1, 0, 1, images=1))
    assert (interval.low, interval.high) == (0, 1)
    both = compare(networks(1, 1, 1, images=1), networks(0, images=1), old_is_fixed=True)
    assert both.p > 0.05
    assert both.interval.low < 0 < both.interval.high


def test_over_seeds_counts_are_means_over_all_pairs_of_networks() -> None:
    comparison = compare(networks(140, 146, 147), networks(133), old_is_fixed=True)
    assert comparison.corrected == pytest.approx((7 + 13 + 14) / 3)
    assert comparison.spoiled == 0
    assert comparison.interval.kind == IMAGES_AND_SEEDS


def test_the_seeds_of_one_side_alone_do_not_tell_those_of_the_other() -> None:
    assert compare(networks(140, 146, 147), networks(133)).interval.kind == THESE_NETWORKS


def test_a_side_without_a_seed_may_stand_on_either_side() -> None:
    seeds, fixed = networks(100, 104, 110), networks(133)
    fixed_first = compare(fixed, seeds, new_is_fixed=True)
    fixed_last = compare(seeds, fixed, old_is_fixed=True)
    assert fixed_first.interval.kind == fixed_last.interval.kind == IMAGES_AND_SEEDS
    assert (fixed_first.interval.low, fixed_first.interval.high) == pytest.approx(
        (-fixed_last.interval.high, -fixed_last.interval.low)
    )
    assert fixed_first.p == pytest.approx(fixed_last.p)


def test_networks_that_say_the_same_are_not_different() -> None:
    comparison = compare(networks(140, 140, 140), networks(140), old_is_fixed=True)
    assert (comparison.difference, comparison.p) == (0, 1)
    assert comparison.interval.low < 0 < comparison.interval.high


def test_holms_correction_is_the_one_of_the_paper() -> None:
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([]) == []
    assert statistics.holm([0.03]) == [0.03]


def test_holms_correction_is_that_of_the_library() -> None:
    random = np.random.default_rng(0)
    for count in (1, 2, 7, 30):
        p_values = [*random.random(count) ** 3, 0.0, 1.0, 0.01, 0.01]
        assert statistics.holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


def test_the_smallest_difference_is_found_with_the_power_asked_for() -> None:
    random = np.random.default_rng(0)
    rate = 1 / IMAGES
    exact = cache(lambda b, c: stats.binomtest(b, b + c).pvalue if b + c else 1.0)
    smallest = statistics.smallest_difference(rate, IMAGES)
    assert smallest is not None

    def power(difference: float, rounds: int = 4000) -> float:
        counts = random.multinomial(IMAGES, [difference + rate, rate, 1 - difference - 2 * rate], rounds)
        return float(np.mean([b > c and exact(b, c) <= 0.05 for b, c, _ in counts]))

    assert power(smallest) >= 0.78
    assert power(smallest - 1 / IMAGES) <= 0.82
    assert statistics.smallest_difference(0.2, 5) is None


def test_calibration_is_that_of_the_paper_and_of_the_library() -> None:
    from sklearn.calibration import calibration_curve

    random = np.random.default_rng(0)
    confidence = random.uniform(0.5, 1, 1000)
    correct = (random.random(1000) < confidence - 0.1).astype(np.float64)
    bins = statistics.reliability(confidence, correct, bins=10)
    accuracy, mean_confidence = calibration_curve(correct, confidence, n_bins=10)
    assert bins.accuracy == pytest.approx(accuracy)
    assert bins.confidence == pytest.approx(mean_confidence)
    assert bins.count.sum() == 1000
    assert bins.error == pytest.approx(0.1, abs=0.03)
    assert statistics.reliability(np.array([1.0, 0.8]), np.array([1.0, 0.0])).error == pytest.approx(0.4)
