"""How many times as much one way needs: of made-up ways whose multiple is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.statistics import Arm, Multiple, fit_power_law, multiple

AMOUNTS = (12.0, 24.0, 49.0, 98.0, 171.0, 244.0)


def arms(random: np.random.Generator, times: float, hard: np.ndarray, seeds: int = 5, offset: float = 0.0) -> list[Arm]:
    """Draw networks whose chance of being right grows with the logarithm of the amount, divided by `times`."""
    made = []
    for amount in AMOUNTS:
        expected = -1.0 + offset + np.log(amount / times / AMOUNTS[0]) + hard
        logits = expected + random.normal(0, 0.25, (seeds, 1)) + random.normal(0, 0.5, (seeds, len(hard)))
        made.append(Arm(amount, (random.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(float)))
    return made


def draw(seed: int, times: float, images: int = 153, seeds: int = 5) -> Multiple:
    random = np.random.default_rng(seed)
    hard = random.normal(0, 1.2, images)
    return multiple(arms(random, 1.0, hard, seeds), arms(random, times, hard, seeds))


@pytest.mark.parametrize("times", [1.0, 4.0])
def test_a_known_multiple_lies_in_nearly_all_intervals(times: float) -> None:
    results = [draw(seed, times) for seed in range(12)]
    assert sum(result.low <= times <= result.high for result in results) >= 11
    assert np.median([result.value for result in results]) == pytest.approx(times, rel=0.2)
    assert all(result.low <= result.value <= result.high for result in results)


def test_a_way_that_never_does_as_well_needs_more_than_can_be_told() -> None:
    random = np.random.default_rng(0)
    hard = random.normal(0, 1, 200)
    new, old = arms(random, 1.0, hard, offset=8.0), arms(random, 1.0, hard)
    result = multiple(new, old)
    assert math.isinf(result.value) and math.isinf(result.high) and math.isinf(result.low)
    assert result.is_told and result.widest == AMOUNTS[-1] / AMOUNTS[0]
    turned = multiple(old, new)
    assert (turned.value, turned.low, turned.high) == (0.0, 0.0, 0.0)


def test_nothing_is_told_by_two_ways_that_do_not_grow() -> None:
    random = np.random.default_rng(1)
    flat = [[Arm(amount, (random.random((3, 60)) < 0.5).astype(float)) for amount in AMOUNTS] for _ in range(2)]
    result = multiple(flat[0], flat[1])
    assert result.low < 0.2 and math.isinf(result.high) and not result.is_told


def test_images_in_groups_tell_less() -> None:
    random = np.random.default_rng(2)
    hard = np.repeat(random.normal(0, 1.2, 20), 10)
    ways = arms(random, 1.0, hard), arms(random, 3.0, hard)
    alone = multiple(*ways)
    grouped = multiple(*ways, np.repeat([f"nest {number}" for number in range(20)], 10))
    assert alone.value == grouped.value
    assert grouped.high / grouped.low > alone.high / alone.low


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
