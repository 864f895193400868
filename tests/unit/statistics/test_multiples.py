"""How many times as much one way needs: of made-up ways whose multiple is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.statistics import Arm, Multiple, fit_power_law, multiple

AMOUNTS = (12.0, 24.0, 49.0, 98.0, 171.0, 244.0)


def way(
    random: np.random.Generator,
    times: float,
    hard: np.ndarray,
    seeds: int = 5,
    *,
    offset: float = 0.0,
    joint: bool = False,
) -> list[Arm]:
    """Draw networks whose chance of being right grows with the logarithm of the amount, divided by `times`.

    How good a seed is may be the same for all amounts, as where a training goes on.
    """
    made = []
    of_seeds = random.normal(0, 0.25, (seeds, 1))
    for amount in AMOUNTS:
        expected = -1.0 + offset + np.log(amount / times / AMOUNTS[0]) + hard
        of_seeds = of_seeds if joint else random.normal(0, 0.25, (seeds, 1))
        logits = expected + of_seeds + random.normal(0, 0.5, (seeds, len(hard)))
        correct = (random.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(float)
        made.append(Arm(amount, correct, tuple(map(str, range(seeds)))))
    return made


def certain(amount: float, right: int, images: int = 60, seeds: int = 3) -> Arm:
    """Return networks that are right about their first images."""
    return Arm(amount, np.tile(np.arange(images) < right, (seeds, 1)).astype(float), tuple(map(str, range(seeds))))


def draw(seed: int, times: float, *, images: int = 153, joint: bool = False) -> Multiple:
    random = np.random.default_rng(seed)
    hard = random.normal(0, 1.2, images)
    return multiple(way(random, 1.0, hard, joint=joint)[0], way(random, times, hard, joint=joint))


@pytest.mark.parametrize("joint", [False, True])
def test_a_known_multiple_lies_in_nearly_all_intervals(joint: bool) -> None:
    results = [draw(seed, 4.0, joint=joint) for seed in range(12)]
    assert sum(result.low <= 4.0 <= result.high for result in results) >= 11
    assert np.median([result.value for result in results]) == pytest.approx(4.0, rel=0.2)
    assert all(result.low <= result.value <= result.high for result in results)


def test_it_is_where_the_old_way_first_does_as_well() -> None:
    """Also where the new way gains nothing by more, and the old one stands still before it goes on."""
    old = [certain(5, 20), certain(10, 40), certain(20, 40), certain(40, 55)]
    assert multiple(certain(5, 40), old).value == pytest.approx(2.0)
    assert multiple(certain(5, 30), old).value == pytest.approx(math.sqrt(2))
    assert multiple(certain(5, 55), old).value == pytest.approx(8.0)


def test_a_way_that_never_does_as_well_needs_more_than_can_be_told() -> None:
    result = multiple(certain(10, 59), [certain(5, 20), certain(40, 30)])
    assert math.isinf(result.value) and math.isinf(result.high) and math.isinf(result.low)
    assert result.most == 4.0, "the old way's largest amount over the new one's least"


def test_a_way_that_does_as_well_with_its_least_is_below_what_can_be_told() -> None:
    result = multiple(certain(10, 20), [certain(5, 40), certain(40, 50)])
    assert (result.value, result.low, result.high) == (0.0, 0.0, 0.0)


def test_images_in_groups_tell_less() -> None:
    random = np.random.default_rng(2)

    def nests(amount: float, right: float) -> Arm:
        return Arm(amount, np.repeat(random.random((3, 40)) < right, 10, axis=1).astype(float), ("0", "1", "2"))

    new, old = nests(5, 0.5), [nests(amount, right) for amount, right in ((5, 0.2), (20, 0.5), (80, 0.8))]
    alone = multiple(new, old)
    grouped = multiple(new, old, np.repeat([f"nest {number}" for number in range(40)], 10))
    assert alone.value == grouped.value
    assert grouped.high / grouped.low > alone.high / alone.low


def test_an_arm_that_lacks_seeds_is_drawn_from_those_that_it_has() -> None:
    old = [certain(5, 20, seeds=1), certain(10, 40), certain(20, 50, seeds=2)]
    assert multiple(certain(5, 40), old).value == pytest.approx(2.0)


def test_the_same_interval_comes_out_each_time() -> None:
    assert draw(3, 2.0, images=40) == draw(3, 2.0, images=40)


def test_a_power_law_is_found_again() -> None:
    accuracies = [1 - 0.03 - 0.9 * amount**-0.5 for amount in AMOUNTS]
    law = fit_power_law(AMOUNTS, accuracies, [0.005] * 6)
    assert law is not None
    assert law.accuracy(np.array(AMOUNTS)) == pytest.approx(accuracies, abs=0.003)
    assert law.exponent == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize(
    ("accuracies", "errors"),
    [
        ([0.5, 0.9, 0.5, 0.9, 0.5, 0.9], [0.01] * 6),  # is nothing that grows
        ([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], [0.01] * 6),  # falls
        ([0.5, 0.6, 0.7, 0.8, 0.9, 0.95], [0.0] * 6),  # tells nothing of chance
    ],
)
def test_no_law_is_fitted_to_what_follows_none(accuracies: list[float], errors: list[float]) -> None:
    assert fit_power_law(AMOUNTS, accuracies, errors) is None


def test_four_amounts_are_too_few_for_a_law() -> None:
    assert fit_power_law(AMOUNTS[:4], [0.5, 0.6, 0.7, 0.8], [0.1] * 4) is None
