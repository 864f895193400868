"""In what two runs differ: causes first, and nothing that differs by nature."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fabricated import FINE_TUNE, predict, run

from analysis.diff import Difference, RunContents, compare_runs, describe_differences


@pytest.fixture
def kept() -> RunContents:
    histories = {"train/loss": [(1, 0.5), (2, 0.25)], "time/train_seconds": [(2, 1.0)]}
    return RunContents(run(FINE_TUNE), {"packages.torch": "2.14"}, histories, "ab" * 32, predict(140))


def test_a_run_and_its_repetition_do_not_differ(kept: RunContents) -> None:
    again = replace(kept, histories={**kept.histories, "time/train_seconds": [(2, 9.0)]})
    assert compare_runs(kept, again) == []
    assert describe_differences([]).startswith("no difference")


def test_causes_come_before_effects(kept: RunContents) -> None:
    other = replace(
        kept,
        record=replace(kept.record, params={**kept.record.params, "seed": "1"}, tags={"commit": "c"}),
        environment={"packages.torch": "2.15", "threads": "2"},
        histories={"train/loss": [(1, 0.5), (2, 0.3)]},
        weights="cd" * 32,
        predictions=predict(139),
    )
    differences = compare_runs(kept, other)
    assert list(dict.fromkeys(difference.kind for difference in differences)) == [
        "configuration",
        "code",
        "environment",
        "metrics",
        "weights",
        "images",
    ]
    assert Difference("configuration", "seed", "0", "1") in differences
    assert Difference("environment", "threads", "-", "2") in differences
    assert Difference("metrics", "train/loss at step 2", "0.25", "0.3") in differences
    (image,) = [difference for difference in differences if difference.kind == "images"]
    assert (image.name, image.first[:4], image.second[:4]) == ("val/139.jpg", "bees", "ants")


def test_what_finds_the_groups_is_a_setting(kept: RunContents) -> None:
    stated = replace(kept, record=replace(kept.record, tags={**kept.record.tags, "data_group": "([a-z]+)"}))
    assert compare_runs(kept, stated) == [Difference("configuration", "data.group", "-", "([a-z]+)")]


def test_other_bits_of_a_probability_are_a_difference(kept: RunContents) -> None:
    frame = predict(140)
    frame["confidence"] = frame["confidence"].where(frame.index != 3, 0.8000001)
    (difference,) = compare_runs(kept, replace(kept, predictions=frame))
    assert (difference.kind, difference.name) == ("images", "val/3.jpg")


def test_what_is_missing_on_both_sides_is_not_the_same(kept: RunContents) -> None:
    lost = replace(kept, weights="missing", predictions=None)
    differences = compare_runs(lost, lost)
    assert [(difference.kind, difference.first) for difference in differences] == [
        ("weights", "missing"),
        ("images", "missing or damaged"),
    ]
    assert [difference.kind for difference in compare_runs(kept, replace(kept, predictions=None))] == ["images"]
    assert compare_runs(replace(kept, weights=None), replace(kept, weights=None)) == []


def test_images_that_one_run_did_not_see_are_named(kept: RunContents) -> None:
    (difference,) = compare_runs(kept, replace(kept, predictions=predict(140).iloc[1:]))
    assert (difference.name, difference.second) == ("val/0.jpg", "not seen")
    (difference,) = compare_runs(replace(kept, predictions=predict(140).iloc[1:]), kept)
    assert (difference.name, difference.first) == ("val/0.jpg", "not seen")
