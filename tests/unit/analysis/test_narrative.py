"""The sentence that a table opens with, and how figures are worded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fabricated import (
    FINE_TUNE,
    FROM_SCRATCH,
    LINEAR_PROBE,
    ZERO_SHOT,
    golden_records,
    predict,
    run,
    table_of,
    three_columns,
)

from analysis.comparison_table import add_evidence, build_table
from analysis.footnotes import footnotes
from analysis.narrative import answer, format_p, head_row, headline


def test_headline_is_of_the_fullest_row_and_not_of_the_best() -> None:
    assert headline(build_table(golden_records(), arch=["efficientnet_lite0"])) == (
        "On hymenoptera, efficientnet_lite0: fine-tuned 96.7 % (n=3), from scratch 52.3 %."
    )
    assert headline(build_table(golden_records(), published=True)) == (
        "On hymenoptera, resnet50 (sgd lr 0.01 momentum 0.5, batch 64, 50 epochs): "
        "fine-tuned 95.4 % (n=3), untouched 86.9 %, from scratch 69.6 % (n=2)."
    )
    assert headline(build_table([], published=True)) == "No finished runs yet."
    assert headline(build_table([run(FINE_TUNE)], metric="eval/closed_set_accuracy")).startswith(
        "On photos, resnet50, eval/closed_set_accuracy: "
    )


def test_headline_prefers_columns_to_seeds() -> None:
    many = [run(FINE_TUNE, 0.9, seed=str(seed)) for seed in range(5)]
    both = [run(FINE_TUNE, 0.6, training__epochs="5"), run(FROM_SCRATCH, 0.5, training__epochs="5")]
    assert headline(build_table([*many, *both])).endswith("5 epochs): fine-tuned 60.0 %, from scratch 50.0 %.")


def test_the_answer_is_said_first_and_is_true() -> None:
    assert headline(three_columns()) == (
        "On photos, resnet50: fine-tuned 95.4 %, untouched 86.9 %, from scratch 68.6 %. This fine-tuned network is "
        "better than the untouched network when all its 1000 outputs compete, +8.5 points (95 % interval 2.6 to 16.4, "
        "p = 0.002), but not shown to differ from it when only the outputs of ants and bees compete, -2.0 points (95 % "
        "interval -7.4 to 2.3, p = 0.083); other seeds may do otherwise. This fine-tuned network is better than this "
        "network trained from scratch, +26.8 points (95 % interval 18.0 to 37.0, p < 0.001); other seeds may do "
        "otherwise."
    )


def test_words_for_small_numbers() -> None:
    assert [format_p(p) for p in (0.0004, 0.0005, 0.0496, 0.04996, 0.05, 0.0504, 0.3, 1.0)] == [
        "p < 0.001",
        "p = 0.001",
        "p = 0.0496",
        "p = 0.04996",
        "p = 0.050",
        "p = 0.0504",
        "p = 0.30",
        "p = 1.00",
    ]


def test_the_row_that_is_spoken_of_is_never_chosen_by_its_figures() -> None:
    worse, better = run(FINE_TUNE, 0.8, optimizer__lr="0.1"), run(FINE_TUNE, 0.9)
    newest = run(FINE_TUNE, 0.7, optimizer__lr="0.001")
    row = head_row(build_table([worse, better, newest]))
    assert row is not None
    assert row.cells["fine_tune"].accuracy == 0.7


def test_auto_precision_that_was_two_things_is_said() -> None:
    runs = [
        replace(run(FINE_TUNE, seed=str(seed)), tags={"data": "photos", "precision": name})
        for seed, name in enumerate(("float32", "bfloat16"))
    ]
    assert "precision=auto was bfloat16 in some runs, float32 in others." in footnotes(build_table(runs))


def test_what_is_left_out_of_the_data_is_said_once() -> None:
    tags = {"left_out_files": "3 .heic, 1 .gif", "skipped_images": "2", "split_folders": "valid reports"}
    tags["data_origin"] = "taken from ImageNet"
    records = [run(column) for column in (FINE_TUNE, FROM_SCRATCH)]
    records = [replace(record, tags=record.tags | tags) for record in records]
    notes = footnotes(build_table([*records, run(ZERO_SHOT)]))
    for sentence in (
        "photos: files left out of the folders: 3 .heic, 1 .gif.",
        "photos: images skipped as unreadable: 2.",
        "photos: valid reports.",
        "photos: taken from ImageNet.",
    ):
        assert notes.count(sentence) == 1


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
    assert "photos: 2 ways (columns, recipes, weights, architectures) were tried on the same evaluation" in " ".join(
        footnotes(table_of(*rates))
    )


def test_ways_are_counted_whatever_is_shown() -> None:
    """Other columns and other architectures were tried on the same images too."""
    probes = [run(LINEAR_PROBE, optimizer__lr=str(rate)) for rate in range(1, 7)]
    others = [run(FINE_TUNE, arch__name=arch, model__weights="f37072fd") for arch in ("resnet18", "resnet34")]
    records = [run(ZERO_SHOT), run(FINE_TUNE), *probes, *others]
    frames = {record.run_id: predict(140) for record in records}

    def notes(**options: Any) -> str:
        return " ".join(footnotes(add_evidence(build_table(records, **options), frames)))

    for options in ({}, {"all_columns": True}, {"arch": ["resnet50"]}):
        assert "photos: 10 ways (columns, recipes, weights, architectures) were tried" in notes(**options)


def test_one_recipe_for_each_column_is_no_choice() -> None:
    table = table_of((run(FINE_TUNE), predict(140)), (run(FROM_SCRATCH, training__epochs="15"), predict(105)))
    assert len(table.rows) == 2
    assert "were tried" not in " ".join(footnotes(table))
    assert "; of other recipes, and so not compared: fine-tuned." in headline(table)


def test_full_tells_calibration_and_recall_of_every_row() -> None:
    rates = [(run(FINE_TUNE, optimizer__lr=rate), predict(140)) for rate in ("0.01", "0.1")]
    table = table_of((run(LINEAR_PROBE), predict(140)), *rates, full=True, all_columns=True)
    calibrations = [note for note in footnotes(table) if "expected calibration error 11.5 %" in note]
    assert len(calibrations) == 3
    assert "found of each class: ants 90.9 %, bees 92.1 % (balanced accuracy 91.5 %)" in calibrations[0]


def test_a_column_of_some_stages_is_named_by_them() -> None:
    runs = [(run(ZERO_SHOT), predict(133)), (run(FINE_TUNE), predict(146))]
    for stages in ("1", "2"):
        runs.append((run(("pretrained", "task", stages), training__epochs="5"), predict(140)))
    notes = " ".join(footnotes(table_of(*runs, all_columns=True, full=True)))
    assert "this network with the last stage trained corrects" in notes
    assert "this network with the last 2 stages trained corrects" in notes
    assert "training the last 2 stages: expected calibration error" in notes
    assert "partial" not in notes


def test_each_step_of_the_ladder_is_said_with_its_interval() -> None:
    ladder = [
        (run(FROM_SCRATCH), predict(60)),
        (run(("moments", "task", "all")), predict(61)),
        (run(("shuffled", "task", "all")), predict(100)),
        (run(FINE_TUNE, model__stages="2"), predict(120)),
        (run(FINE_TUNE), predict(146)),
    ]
    table = table_of(*ladder, all_columns=True)
    (row,) = table.rows
    assert len(row.cells) == len(ladder)
    keys = [column.key for column in table.columns]
    assert keys == ["zero_shot", "fine_tune", "from_scratch", "moments", "shuffled", "stages_2"]
    (said,) = [sentence for sentence in answer(table) if sentence.startswith("step by step")]
    steps = said.removeprefix("step by step from random to pretrained weights: ").split("; ")
    begun = [
        "the scale of the pretrained weights",
        "their values in a random order",
        "the first 2 stages in their places",
    ]
    for step, (beginning, difference) in zip(
        steps[:-1],
        zip([*begun, "all of them in their places"], ("+0.7", "+25.5", "+13.1", "+17.0"), strict=True),
        strict=True,
    ):
        assert step.startswith(f"{beginning} {difference} points (95 % interval ")
    assert steps[0].endswith(", not shown") and not steps[1].endswith(", not shown")
    assert steps[-1] == "other seeds may do otherwise"
    assert f"S{said[1:]}." in footnotes(table)


def test_the_three_columns_have_no_steps() -> None:
    runs = [(run(FROM_SCRATCH), predict(60)), (run(FINE_TUNE), predict(146)), (run(ZERO_SHOT), predict(133))]
    assert not [sentence for sentence in answer(table_of(*runs)) if "step by step" in sentence]
