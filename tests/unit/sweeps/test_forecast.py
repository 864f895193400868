"""How long a sweep still takes, corrected by what was measured."""

from __future__ import annotations

import pytest

from tlft.sweeps.forecast import Forecast


def test_what_was_expected_is_corrected_by_what_was_measured() -> None:
    forecast = Forecast({0: 10.0, 1: 20.0, 2: 30.0}, {0: "a", 1: "a", 2: "b"})
    assert (forecast.done, forecast.total, forecast.seconds_left()) == (0, 3, 60.0)
    forecast.finish(0, 20.0)
    assert (forecast.done, forecast.seconds_left()) == (1, 100.0)
    forecast.finish(1, 10.0)
    assert forecast.seconds_left() == pytest.approx(30.0)
    assert forecast.describe_left() == "about 30 s left"


def test_without_earlier_runs_like_jobs_tell_and_others_do_not() -> None:
    forecast = Forecast(dict.fromkeys(range(4)), {0: "untouched", 1: "trained", 2: "trained", 3: "trained"})
    forecast.finish(0, 5.0)
    assert (forecast.seconds_left(), forecast.describe_left()) == (None, "")
    forecast.finish(1, 60.0)
    assert forecast.seconds_left() == 120.0


def test_a_job_that_runs_corrects_what_is_left() -> None:
    forecast = Forecast({0: 100.0, 1: 100.0, 2: 50.0}, {0: "a", 1: "a", 2: "b"})
    forecast.advance(0, 10.0, 40.0)  # half as long as was expected
    assert forecast.seconds_left() == pytest.approx(40.0 + 50.0 + 25.0)
    forecast.advance(0, 30.0, 20.0)
    assert forecast.seconds_left() == pytest.approx(20.0 + 50.0 + 25.0)
    assert forecast.done == 0
    forecast.finish(0, 50.0)
    assert forecast.seconds_left() == pytest.approx(50.0 + 25.0)


def test_a_job_that_runs_tells_of_those_like_it() -> None:
    forecast = Forecast(dict.fromkeys(range(3)), dict.fromkeys(range(3), "alike"))
    assert forecast.seconds_left() is None
    forecast.advance(0, 10.0, 20.0)
    assert forecast.seconds_left() == pytest.approx(20.0 + 2 * 30.0)
