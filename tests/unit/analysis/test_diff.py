"""In what two runs differ: causes first, and nothing that differs by nature."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from fabricated import FINE_TUNE, compose, predict, run

from analysis.diff import Difference, RunContents, compare_runs, describe_differences, main
from tlft.config.compose import Composer
from tlft.runs.experiment import run_experiment


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


def test_the_command_compares_what_mlflow_keeps(
    composer: Composer, home: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = compose(composer, home, tiny_folder, "training.epochs=1")
    first = run_experiment(config)
    second = run_experiment(replace(config, force=True))
    other = run_experiment(compose(composer, home, tiny_folder, "training.epochs=1", "seed=1"))
    assert main([first.run_id, second.run_id]) == 0
    assert "no difference" in capsys.readouterr().out
    assert main([first.run_id, other.run_id, "--format", "json"]) == 1
    kinds = {difference["kind"] for difference in json.loads(capsys.readouterr().out)}
    assert {"configuration", "metrics", "weights", "images"} <= kinds
    assert not kinds & {"code", "environment"}
    (weights,) = home.glob(f"mlruns/*/{first.run_id}/artifacts/weights/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert main([first.run_id, second.run_id]) == 1
    assert "weights: 1 differs" in capsys.readouterr().out
    assert main([first.run_id, first.run_id]) == 2
    assert main([first.run_id, "f" * 32]) == 2
    assert "no such run" in capsys.readouterr().err
