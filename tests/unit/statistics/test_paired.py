"""Comparisons of networks on the same images: against published and library values, and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from generators import IMAGES, CollapsedSeeds, NormalLogits, false_positives, false_positives_in_groups, networks
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom
from statsmodels.stats import contingency_tables

from analysis.statistics import IMAGES_AND_SEEDS, THESE_NETWORKS, accuracy_interval, compare, mcnemar, tango_interval
from analysis.statistics.variance import mean_squares


def test_mcnemars_test_is_that_of_the_library() -> None:
    for corrected, spoiled in ((14, 1), (7, 3), (5, 5), (0, 4)):
        table = [[0, corrected], [spoiled, 0]]
        library = contingency_tables.mcnemar(table, exact=False, correction=False).pvalue
        assert mcnemar(corrected, spoiled) == pytest.approx(library)
    assert mcnemar(0, 0) == 1


@pytest.mark.parametrize("images", [50, 153, 1000])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_single_networks_that_are_alike_are_called_different_hardly_more_often_than_the_level(
    images: int, alpha: float
) -> None:
    """Exact: the number of images about which they disagree is binomial, and so is how many the new one corrects."""
    for rate in (0.005, 0.02, 0.05, 0.1, 0.2, 0.4):
        size = 0.0
        for disagreed in range(images + 1):
            corrected = np.arange(disagreed + 1)
            called = np.array([mcnemar(c, disagreed - c) < alpha for c in corrected.tolist()])
            size += binom.pmf(disagreed, images, rate) * binom.pmf(corrected, disagreed, 0.5)[called].sum()
            if disagreed > images * rate + 8 * np.sqrt(images * rate) + 8:
                break
        assert size <= 1.25 * alpha


@given(st.integers(0, 40), st.integers(0, 40), st.sampled_from([0.95, 0.99]))
def test_the_interval_of_single_networks_is_without_zero_where_the_test_rejects(b: int, c: int, level: float) -> None:
    interval, p = tango_interval(b, c, 200, level), mcnemar(b, c)
    if abs(p - (1 - level)) > 1e-9:
        assert (interval.low > 0 or interval.high < 0) == (p < 1 - level)


@given(st.integers(0, 2**32 - 1), st.sampled_from([(3, 1), (5, 1), (3, 3), (2, 1)]), st.sampled_from([0.95, 0.99]))
def test_the_interval_of_several_is_without_zero_where_the_test_rejects(
    seed: int, sizes: tuple[int, int], level: float
) -> None:
    random = np.random.default_rng(seed)
    rates = random.uniform(0.5, 1, 2)
    new, old = ((random.random((size, 60)) < rate).astype(float) for size, rate in zip(sizes, rates, strict=True))
    result = compare(new, old, old_is_fixed=sizes[1] == 1, level=level)
    assert 0 < result.p <= 1
    if abs(result.p - (1 - level)) > 1e-6:
        assert (result.interval.low > 0 or result.interval.high < 0) == (result.p < 1 - level)


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
    interval = tango_interval(corrected, spoiled, images, level)
    assert (interval.low, interval.high) == pytest.approx(published, abs=5e-4)
    mirrored = tango_interval(spoiled, corrected, images, level)
    assert (mirrored.low, mirrored.high) == pytest.approx((-interval.high, -interval.low))


@pytest.mark.parametrize(("corrected", "spoiled"), [(0, 0), (21, 0), (0, 21), (1, 0)])
def test_tangos_interval_at_the_edges_holds_what_was_seen(corrected: int, spoiled: int) -> None:
    interval = tango_interval(corrected, spoiled, 21)
    assert -1 <= interval.low <= (corrected - spoiled) / 21 <= interval.high <= 1
    assert interval.low < interval.high


def test_what_fine_tuning_corrects_and_spoils_is_counted_image_by_image() -> None:
    old = networks(133)
    new = old.copy()
    new[0, 133:147], new[0, 0] = 1, 0
    comparison = compare(new, old)
    assert (comparison.corrected, comparison.spoiled, comparison.images, comparison.networks) == (14, 1, IMAGES, (1, 1))
    assert comparison.difference == pytest.approx(13 / IMAGES)
    assert comparison.p == pytest.approx(0.000789, abs=1e-6)
    assert comparison.seeds_unknown


@pytest.mark.parametrize("seeds", [(3, 1), (5, 5)])
@pytest.mark.parametrize("accuracies", [(0.95, 0.95), (0.95, 0.87)])
def test_over_seeds_the_difference_is_covered_in_95_of_100(
    seeds: tuple[int, int], accuracies: tuple[float, float]
) -> None:
    random = np.random.default_rng(list(seeds))
    rounds = 300
    covered = 0
    for _ in range(rounds):
        new, _ = NormalLogits(1.5, 0.3)(random, accuracies[0], seeds[0], IMAGES)
        old, _ = NormalLogits(1.5, 0.0 if seeds[1] == 1 else 0.3)(random, accuracies[1], seeds[1], IMAGES)
        comparison = compare(new, old, old_is_fixed=seeds[1] == 1)
        covered += comparison.interval.low <= accuracies[0] - accuracies[1] <= comparison.interval.high
    assert covered / rounds >= 0.92


@pytest.mark.parametrize(("seeds", "accuracy"), [(3, 0.87), (3, 0.95), (5, 0.95)])
@pytest.mark.parametrize("spread", [0.3, 1.0])
def test_few_seeds_with_a_large_spread_are_called_different_in_at_most_7_of_100(
    seeds: int, accuracy: float, spread: float
) -> None:
    """At 1,000 images, where the seeds' spread decides; 0.03 is what 400 rounds may add by chance."""
    assert false_positives(NormalLogits(1.5, spread), accuracy, seeds, 1000, rounds=400) <= 0.07 + 0.03


def test_two_sides_with_seeds_are_called_different_in_at_most_7_of_100() -> None:
    random = np.random.default_rng(5)
    draw, rounds = NormalLogits(1.5, 1.0), 300
    called = sum(
        compare(draw(random, 0.95, 3, 1000)[0], draw(random, 0.95, 3, 1000)[0]).p < 0.05 for _ in range(rounds)
    )
    assert called / rounds <= 0.07 + 0.03


@pytest.mark.parametrize(("size", "alike"), [(2, 0.7), (4, 1.0)])
def test_images_in_groups_are_called_different_in_at_most_7_of_100(size: int, alike: float) -> None:
    assert false_positives_in_groups([size] * 50, alike, rounds=400) <= 0.07 + 0.03


def test_groups_of_one_image_say_nothing() -> None:
    draw, random = NormalLogits(1.5, 0.3), np.random.default_rng(0)
    new, old = draw(random, 0.9, 3, 50)[0], draw(random, 0.9, 1, 50)[0]
    names = np.arange(50).astype(str)
    assert compare(new, old, old_is_fixed=True, groups=names) == compare(new, old, old_is_fixed=True)
    assert compare(new[:1], old, groups=names) == compare(new[:1], old)
    assert accuracy_interval(new, groups=names) == accuracy_interval(new)


def test_a_group_of_copies_counts_as_one_image() -> None:
    draw, random = NormalLogits(1.5, 0.3), np.random.default_rng(1)
    new, old = draw(random, 0.9, 1, 40)[0], draw(random, 0.8, 1, 40)[0]
    copies, names = ([np.repeat(side, 3, axis=1) for side in (new, old)], np.repeat(np.arange(40), 3).astype(str))
    alone, grouped = compare(new, old, groups=None), compare(*copies, groups=names)
    assert (grouped.groups, grouped.images) == (40, 120)
    assert grouped.p == pytest.approx(alone.p, rel=0.5)
    assert grouped.interval.high - grouped.interval.low == pytest.approx(
        alone.interval.high - alone.interval.low, rel=0.2
    )


def test_the_variance_is_that_of_obuchowski_and_rockette() -> None:
    """Readers nested in tests (Hillis 2014, Stat. Med. 33:330): mean squares of readers, and covariances over cases."""
    random = np.random.default_rng(2)
    new, old = NormalLogits(1.5, 1.0)(random, 0.8, 6, 200)[0], NormalLogits(1.5, 1.0)(random, 0.7, 4, 200)[0]
    sides, cases = (new, old), 200
    errors = np.cov(np.vstack(sides)) / cases  # of all pairs of readers' accuracies, over cases
    parts = np.repeat((0, 1), (6, 4))

    def mean_covariance(one: int, other: int) -> float:
        block = errors[np.ix_(parts == one, parts == other)]
        return float(
            block.mean() if one != other else (block.sum() - np.trace(block)) / (len(block) * (len(block) - 1))
        )

    reference = -2 * mean_covariance(0, 1)
    for number, side in enumerate(sides):
        readers = side.mean(axis=1).var(ddof=1)
        reference += readers / len(side) + mean_covariance(number, number)
    by_image = (new.mean(axis=0) - old.mean(axis=0)).var(ddof=1) / cases
    ours = by_image
    for side in sides:
        by_seed, residual = mean_squares(side)
        ours += (by_seed - residual) / side.size
    assert ours == pytest.approx(reference, rel=1e-9)
    result = compare(new, old)
    half = (result.interval.high - result.interval.low) / 2
    assert 2 * np.sqrt(reference) < half < 3.2 * np.sqrt(reference)  # Student's t of 3 to 5 degrees of freedom


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


def test_two_seeds_say_nothing_of_a_third() -> None:
    assert accuracy_interval(networks(140, 146)).kind == THESE_NETWORKS
    assert compare(networks(140, 146), networks(133), old_is_fixed=True).seeds_unknown


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


def test_cell_and_comparison_of_the_same_seeds_agree() -> None:
    """Three seeds right about 153, 153 and 150 of 153, against a network that is right about 140."""
    seeds = networks(153, 153, 150)
    cell, against = accuracy_interval(seeds), compare(seeds, networks(140), old_is_fixed=True)
    assert cell.low > 0.9
    assert against.interval.low > 0
    assert cell.low < 140 / IMAGES + against.interval.low + 0.02


def test_a_p_value_is_never_zero() -> None:
    assert compare(networks(100_000, images=100_000), networks(0, images=100_000)).p > 0
    assert compare(networks(*[5000] * 3, images=5000), networks(0, images=5000), old_is_fixed=True).p > 0


def test_a_rare_collapse_that_no_seed_shows_is_not_told() -> None:
    """What the documentation says of it is so: it cannot be known from three seeds."""
    random = np.random.default_rng(0)
    draw = CollapsedSeeds(0.1)
    seen = sum(accuracy_interval(draw(random, 0.9, 3, 1000)[0]).low <= 0.9 for _ in range(100))
    assert seen < 60
