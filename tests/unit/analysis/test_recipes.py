"""What is said of a recipe: short, and everything in which two rows differ."""

from __future__ import annotations

import pytest
from fabricated import FINE_TUNE, run

from analysis.comparison_table import build_table
from tlft.records.record import Record


def recipes_of(*records: Record) -> list[str]:
    return [row.recipe for row in build_table(records).rows]


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer.lr": "0.1"},
        {"optimizer.momentum": "0.9"},
        {"training.epochs": "5"},
        {"training.batch_size": "32"},
        {"training.keep": "lowest_train_loss"},
        {"training.flip": "false"},
        {"schedule.name": "cosine"},
        {"training.ema": "0.999"},
        {"training.accumulate": "4"},
        {"augment.name": "trivial"},
        {"augment.name": "rand", "augment.magnitude": "5"},
        {"precision": "bfloat16"},
        {"data.train": "d4" * 32},
        {"data.holdout": "e5" * 32},
        {"data.eval": "f6" * 32},
        {"model.weights": "11ad3fa6"},
        {"transform.resize": "232"},
        {"format": "2"},
        {"optimizer.invented_later": "1"},
        {"arch.library": "timm"},
    ],
)
def test_runs_that_differ_in_more_than_the_seed_have_rows_that_read_differently(changes: dict[str, str]) -> None:
    table = build_table([run(FINE_TUNE, 0.8), run(FINE_TUNE, 0.9, changes=changes, seed="1")])
    assert [row.cells["fine_tune"].n for row in table.rows] == [1, 1]
    assert len({(row.data, row.arch, row.recipe) for row in table.rows}) == 2


def test_recipe_is_short_and_says_what_is_not_the_default() -> None:
    assert recipes_of(run(FINE_TUNE)) == ["sgd lr 0.01 momentum 0.5, batch 64, 50 epochs"]
    changes = {"schedule.name": "cosine", "schedule.warmup_epochs": "2.0", "training.flip": "false"}
    (label,) = recipes_of(run(FINE_TUNE, optimizer__momentum="0.0", training__epochs="1", changes=changes))
    assert label == "sgd lr 0.01, cosine, warm-up 2.0 epochs, batch 64, 1 epoch, no flips"


def test_what_makes_a_recipe_modern_is_said_in_the_order_of_a_sentence() -> None:
    changes = {
        "optimizer.name": "torch",
        "optimizer.algorithm": "NAdam",
        "optimizer.options": "null",
        "schedule.name": "step",
        "schedule.step_epochs": "7",
        "schedule.gamma": "0.1",
        "training.accumulate": "4",
        "training.layer_decay": "0.75",
        "training.ema": "0.999",
        "training.patience": "3",
        "augment.name": "random_resized_crop",
        "augment.min_scale": "0.25",
        "training.class_weights": "balanced",
    }
    (label,) = recipes_of(run(FINE_TUNE, optimizer__momentum="0.0", changes=changes))
    assert label == (
        "NAdam lr 0.01, step of 7 epochs, batch 64 x 4, 50 epochs, random resized crop from 0.25 of the area, "
        "0.75 of the rate a stage, balanced class weights, averaged weights 0.999, stopped after 3 without a gain"
    )


def test_difference_between_recipes_is_named() -> None:
    base = "sgd lr 0.01 momentum 0.5, batch 64, 50 epochs"
    assert recipes_of(run(FINE_TUNE), run(FINE_TUNE, precision="bfloat16")) == [
        f"{base}, precision auto",
        f"{base}, precision bfloat16",
    ]
    assert recipes_of(run(FINE_TUNE), run(FINE_TUNE, model__weights="11ad3fa6")) == [
        f"{base}, weights 11ad3fa6",
        f"{base}, weights 0676ba61",
    ]
    assert recipes_of(run(FINE_TUNE), run(FINE_TUNE, optimizer__invented="1")) == [
        f"{base}, invented 1",
        f"{base}, no invented",
    ]


def test_difference_is_named_between_architectures_too() -> None:
    labels = recipes_of(run(FINE_TUNE), run(FINE_TUNE, arch__name="resnet18", precision="float32"))
    assert [label.rpartition(", ")[2] for label in labels] == ["precision float32", "precision auto"]


def test_images_held_out_are_named_though_the_recipes_read_differently_anyway() -> None:
    first, second = (
        run(FINE_TUNE, data__holdout="d4" * 32),
        run(FINE_TUNE, data__holdout="e5" * 32, optimizer__lr="0.1"),
    )
    labels = recipes_of(first, second)
    assert [label.rpartition(", ")[2] for label in labels] == ["hold-out d4d4d4d4", "hold-out e5e5e5e5"]


def test_rows_are_in_the_order_of_numbers() -> None:
    labels = recipes_of(*(run(FINE_TUNE, training__epochs=epochs) for epochs in ("50", "5", "10")))
    assert [label.split(", ")[-1] for label in labels] == ["5 epochs", "10 epochs", "50 epochs"]
