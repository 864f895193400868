"""How sure networks are, and how often right."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from analysis.statistics import reliability


def test_calibration_is_that_of_the_paper_and_of_the_library() -> None:
    random = np.random.default_rng(0)
    confidence = random.uniform(0.5, 1, 1000)
    correct = (random.random(1000) < confidence - 0.1).astype(np.float64)
    bins = reliability(confidence, correct, bins=10)
    accuracy, mean_confidence = calibration_curve(correct, confidence, n_bins=10)
    assert bins.accuracy == pytest.approx(accuracy)
    assert bins.confidence == pytest.approx(mean_confidence)
    assert bins.count.sum() == 1000
    assert bins.error == pytest.approx(0.1, abs=0.03)
    assert reliability(np.array([1.0, 0.8]), np.array([1.0, 0.0])).error == pytest.approx(0.4)


def test_a_perfectly_calibrated_network_shows_what_chance_gives() -> None:
    random = np.random.default_rng(1)
    confidence = random.uniform(0.5, 1, (200, 153))
    errors = [reliability(c, (random.random(153) < c).astype(np.float64)) for c in confidence]
    by_chance = np.mean([one.error_by_chance for one in errors])
    assert by_chance == pytest.approx(np.mean([one.error for one in errors]), rel=0.05)
    assert by_chance > 0.05


def test_of_several_networks_it_is_the_mean_of_theirs() -> None:
    confidence = np.full((2, 4), 0.75)
    correct = np.array([[1.0, 1, 1, 0], [0, 0, 0, 0]])
    assert reliability(confidence, correct).error == pytest.approx((0 + 0.75) / 2)
