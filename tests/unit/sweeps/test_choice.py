"""What a sweep names as best on the hold-out: over seeds, of each question one, and told so that it can be run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from conftest import Configure, run_py

from tlft.names import Metric
from tlft.pixels.transforms import Transform
from tlft.planning.jobs import Job, PlannedJob, Result
from tlft.records.outcome import Outcome, RunStatus
from tlft.runs.run_key import scientific_config
from tlft.sweeps.choice import describe_choice

TRANSFORM = Transform(8, 8, "bilinear", (0.5,) * 3, (0.5,) * 3)


def result(configure: Configure, accuracy: float | None, *overrides: str, status: RunStatus = RunStatus.DONE) -> Result:
    config = configure("experiment=linear_probe", "data.holdout_fraction=0.2", *overrides)
    digests = {"train": "a", "eval": "b", "holdout": "c"}
    if config.data.folds is not None:
        digests = {split: f"{digest}{config.data.fold}" for split, digest in digests.items()}
    science = scientific_config(config, digests, TRANSFORM, "weights", None)
    identity = SimpleNamespace(science=science, dataset=SimpleNamespace(name="insects"))
    typed = ("experiment=linear_probe", "data.holdout_fraction=0.2", "sweep.choose=holdout", *overrides)
    planned = PlannedJob(Job(0, config, overrides=typed), cast(Any, identity), cast(Any, None), RunStatus.NEW)
    metrics = {Metric.ACCURACY: 0.1} | ({} if accuracy is None else {Metric.HOLDOUT_ACCURACY: accuracy})
    return Result(planned, Outcome(status, "id", "name", metrics))


def test_the_mean_over_seeds_decides_and_what_was_chosen_can_be_run(configure: Configure) -> None:
    results = [
        result(configure, accuracy, f"optimizer.lr={lr}", f"seed={seed}")
        for lr, accuracies in ((0.1, (0.99, 0.5)), (0.01, (0.8, 0.9)), (0.001, (0.7, 0.7)))
        for seed, accuracy in zip((3, 4), accuracies, strict=True)
    ]
    best, command = describe_choice(results)
    assert best == "best on the hold-out of 3 settings of linear_probe resnet50 sgd: 85.00 % over 2 seeds"
    assert command.endswith("python run.py -m experiment=linear_probe optimizer.lr=0.01 seed=3,4")


def test_a_setting_that_ends_by_the_hold_out_keeps_it(configure: Configure) -> None:
    patience = "training.patience=2"
    results = [result(configure, accuracy, patience, f"optimizer.lr={lr}") for accuracy, lr in ((0.8, 0.1), (0.9, 0.2))]
    _, command = describe_choice(results)
    assert "trained on the same images, since the hold-out ends its training: " in command
    assert "data.holdout_fraction=0.2 training.patience=2 optimizer.lr=0.2" in command
    assert "sweep.choose" not in command


def test_a_hold_out_of_the_data_is_not_trained_on_afterwards(configure: Configure) -> None:
    own = ("data.holdout_fraction=null", "data.holdout_split=val")
    results = [result(configure, accuracy, *own, f"optimizer.lr={lr}") for accuracy, lr in ((0.8, 0.1), (0.9, 0.2))]
    _, command = describe_choice(results)
    assert "it alone, trained on the same images, since the hold-out is the data's own: " in command


def test_a_setting_that_lacks_a_seed_is_not_the_best_by_a_lucky_one(configure: Configure) -> None:
    results = [result(configure, 0.8, "optimizer.lr=0.1", f"seed={seed}") for seed in (0, 1)]
    results += [result(configure, 0.99, "optimizer.lr=0.5", "seed=0")]
    results += [result(configure, 0.99, "optimizer.lr=0.5", "seed=1", status=RunStatus.FAILED)]
    best, _ = describe_choice(results)
    assert "80.00 % over 2 seeds; left out for fewer seeds: 1" in best


def test_the_folds_of_a_setting_are_one_question(configure: Configure) -> None:
    folds = ("data=imagefolder", "data.root=pets", "data.folds=2")
    results = [
        result(configure, accuracy, *folds, f"data.fold={fold}", f"seed={seed}", f"optimizer.lr={lr}")
        for lr, accuracies in ((0.1, (0.9, 0.5, 0.6, 0.6)), (0.2, (0.7, 0.7, 0.8, 0.8)))
        for (fold, seed), accuracy in zip(((0, 3), (1, 3), (0, 4), (1, 4)), accuracies, strict=True)
    ]
    best, command = describe_choice(results)
    assert best == "best on the hold-out of 2 settings of linear_probe resnet50 sgd: 75.00 % over 4 folds and seeds"
    assert command.endswith("data.folds=2 optimizer.lr=0.2 data.fold=0,1 seed=3,4")


def test_equal_settings_are_said(configure: Configure) -> None:
    results = [result(configure, 0.8, f"optimizer.lr={lr}") for lr in (0.1, 0.2, 0.3)]
    best, command = describe_choice(results)
    assert best.endswith("80.00 %, the first of 3 that are equal")
    assert "optimizer.lr=0.1" in command


def test_each_network_and_column_has_a_choice_of_its_own(configure: Configure) -> None:
    results = [
        result(configure, accuracy, f"arch={arch}", f"training.trainable={trainable}", f"optimizer.lr={lr}")
        for arch in ("resnet50", "efficientnet_lite0")
        for trainable in ("head", "all")
        for lr, accuracy in ((0.1, 0.7), (0.01, 0.6))
    ]
    lines = describe_choice(results)
    assert len(lines) == 8
    assert all("optimizer.lr=0.1 " in line for line in lines[1::2])


def test_one_setting_alone_and_runs_without_a_hold_out_are_no_choice(configure: Configure) -> None:
    assert describe_choice([result(configure, 0.8, "seed=0"), result(configure, 0.9, "seed=1")]) == []
    assert describe_choice([result(configure, None, f"optimizer.lr={lr}") for lr in (0.1, 0.01)]) == []


@pytest.mark.parametrize("sweep", ["probes", "optimizers"])
def test_a_sweep_that_chooses_needs_a_hold_out(tmp_path: Any, sweep: str) -> None:
    done = run_py(f"sweep={sweep}", "data.holdout_fraction=null", "data=synthetic", home=tmp_path)
    assert done.returncode == 2
    assert "sweep.choose=holdout: there is no hold-out to choose on" in done.stderr
    assert "set data.holdout_fraction=0.2" in done.stderr
