"""What is said below a table."""

from __future__ import annotations

from dataclasses import replace

from fabricated import FINE_TUNE, FROM_SCRATCH, LINEAR_PROBE, ZERO_SHOT, predict, run, table_of

from analysis.comparison_table import build_table
from analysis.narrative import footnotes, headline


def test_auto_precision_that_was_two_things_is_said() -> None:
    runs = [
        replace(run(FINE_TUNE, seed=str(seed)), tags={"data": "photos", "precision": name})
        for seed, name in enumerate(("float32", "bfloat16"))
    ]
    assert "precision=auto was bfloat16 in some runs, float32 in others." in footnotes(build_table(runs))


def test_predictions_that_cannot_be_read_are_said() -> None:
    table = table_of((run(ZERO_SHOT), None), (run(FINE_TUNE), predict(146)))
    assert table.interval(table.rows[0], "zero_shot") is None
    assert "The predictions of one run cannot be read; such a cell has no interval." in footnotes(table)
    assert table.evidence is not None
    assert table.evidence.claims == ()


def test_a_difference_of_recipe_is_said_with_the_comparison() -> None:
    table = table_of((run(ZERO_SHOT, precision="float32"), predict(133)), (run(FINE_TUNE), predict(146)))
    assert "not alike: precision auto and float32" in " ".join(footnotes(table))


def test_several_recipes_on_the_same_images_are_marked() -> None:
    rates = [(run(FINE_TUNE, seed="0", optimizer__lr=rate), predict(140)) for rate in ("0.01", "0.1")]
    assert "photos, resnet50: 2 recipes were tried on the same evaluation images" in " ".join(
        footnotes(table_of(*rates))
    )


def test_one_recipe_for_each_column_is_no_choice() -> None:
    table = table_of((run(FINE_TUNE), predict(140)), (run(FROM_SCRATCH, training__epochs="15"), predict(105)))
    assert len(table.rows) == 2
    assert "recipes were tried" not in " ".join(footnotes(table))
    assert "Of other recipes, and so not compared: " in headline(table)


def test_full_tells_calibration_and_recall_of_every_row() -> None:
    rates = [(run(FINE_TUNE, optimizer__lr=rate), predict(140)) for rate in ("0.01", "0.1")]
    table = table_of((run(LINEAR_PROBE), predict(140)), *rates, full=True, all_columns=True)
    calibrations = [note for note in footnotes(table) if "expected calibration error 11.5 %" in note]
    assert len(calibrations) == 3
    assert "found of each class: ants 90.9 %, bees 92.1 %" in calibrations[0]
