"""What so many images can show."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.statistics import mcnemar, rate_limit, smallest_difference

IMAGES = 153


@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_the_smallest_difference_is_found_with_the_power_asked_for(alpha: float) -> None:
    random = np.random.default_rng(0)
    rate = 1 / IMAGES
    smallest = smallest_difference(rate, IMAGES, alpha)
    assert smallest is not None

    def power(difference: float, rounds: int = 4000) -> float:
        counts = random.multinomial(IMAGES, [difference + rate, rate, 1 - difference - 2 * rate], rounds)
        return float(np.mean([b > c and mcnemar(b, c) < alpha for b, c, _ in counts]))

    assert power(smallest) >= 0.78
    assert power(smallest - 1 / IMAGES) <= 0.82


def test_no_difference_is_found_on_a_handful_of_images() -> None:
    assert smallest_difference(0.2, 5) is None
    assert smallest_difference(0.5, 100) is None


def test_many_images_show_small_differences() -> None:
    assert smallest_difference(0.01, 200_000) == pytest.approx(0.0009, abs=1e-4)


def test_a_rate_that_was_never_seen_has_a_limit() -> None:
    assert rate_limit(153) == pytest.approx(1 - 0.05 ** (1 / 153))
