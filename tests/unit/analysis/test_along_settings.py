"""The table along one setting: which rows make a curve, what is said of it, and how it is drawn."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from fabricated import FINE_TUNE, FROM_SCRATCH, IMAGES, LINEAR_PROBE, ZERO_SHOT, predict, run, table_of
from PIL import Image

from analysis.comparison_table import Table, build_table
from analysis.curve.drawing import draw_curve, numbered
from analysis.curve.series import Curve, curves_along
from analysis.curve.wording import describe_curve
from tlft.errors import ConfigurationError
from tlft.names import Tag
from tlft.records.record import Record

COUNTS = (12, 49, 244)


def networks(
    column: tuple[str, str, str], right: int, count: int = 0, seeds: int = 3, more: Mapping[str, str] | None = None
) -> list[tuple[Record, pd.DataFrame]]:
    """Make a run for each seed, trained on so many images, right about nearly the same number of images."""
    made = []
    for seed in range(seeds):
        changes = {"seed": str(seed), **({"data.train": f"{count:032x}"} if count else {}), **(more or {})}
        correct = min(right + seed, IMAGES)
        record = run(column, correct / IMAGES, changes=changes)
        tags = record.tags | ({Tag.TRAINING_IMAGES: str(count)} if count else {})
        made.append((replace(record, tags=tags), predict(correct)))
    return made


def along_images() -> Table:
    runs = [(run(ZERO_SHOT, 100 / IMAGES), predict(100))]
    for count, tuned, scratch in zip(COUNTS, (110, 130, 146), (60, 75, 112), strict=True):
        runs += networks(FINE_TUNE, tuned, count) + networks(FROM_SCRATCH, scratch, count)
    return table_of(*runs, all_columns=True)


def only(table: Table, key: str, config: str = "") -> Curve:
    (curve,) = curves_along(table, key, lambda _: config)
    return curve


def test_rows_that_differ_in_the_images_alone_make_one_curve_with_the_untouched_network_beside_it() -> None:
    curve = only(along_images(), "data.train_fraction")
    assert [line.column for line in curve.lines] == ["fine_tune", "from_scratch"]
    assert [[point.x for point in line.points] for line in curve.lines] == [list(COUNTS)] * 2
    assert [line.column for line in curve.constant] == ["zero_shot"]
    assert curve.label == "training images" and curve.is_amount


def test_the_sentences_hold_what_the_figures_say() -> None:
    first, against_scratch, times = describe_curve(only(along_images(), "data.train_fraction"))
    assert "fine-tuned 72.5 % with 12 and 96.1 % with 244 training images" in first
    assert against_scratch == (
        "fine-tuning is better than training from scratch with 12 to 244 training images (+22.2 to +35.9 points); "
        "corrected for 4 comparisons along the curve"
    )
    assert times.startswith("training from scratch needs about ")
    assert " to do as well as fine-tuning with 12 training images, 72.5 %; of these training images: another " in times
    value = float(times.removeprefix("training from scratch needs about ").partition(" ")[0])
    assert value == pytest.approx(244 / 12, rel=0.1)  # 112 images are right with 244, and 111 with 12


def test_what_never_does_as_well_has_no_number() -> None:
    runs = []
    for count, tuned, scratch in zip(COUNTS, (140, 145, 150), (40, 50, 60), strict=True):
        runs += networks(FINE_TUNE, tuned, count) + networks(FROM_SCRATCH, scratch, count)
    text = describe_curve(only(table_of(*runs, all_columns=True), "data.train_fraction"))[-1]
    assert text == (
        "training from scratch needs more than 20 times as many training images to do as well as fine-tuning with 12 "
        "training images, 92.2 %; of these training images: another draw of them may do otherwise"
    )


def test_more_than_so_many_times_is_what_the_old_way_was_tried_with() -> None:
    runs = networks(FINE_TUNE, 140, more={"training.epochs": "100"})
    runs += networks(FINE_TUNE, 141, more={"training.epochs": "200"})
    for epochs in (5, 50, 200):
        runs += networks(FROM_SCRATCH, 40, more={"training.epochs": str(epochs)})
    text = " ".join(describe_curve(only(table_of(*runs, all_columns=True), "training.epochs")))
    assert "needs more than 2 times as many epochs to do as well as fine-tuning with 100 epochs" in text


def test_where_the_ends_are_not_shown_to_differ_nothing_is_told_of_times() -> None:
    runs = []
    for count in COUNTS:
        runs += networks(FINE_TUNE, 120, count, seeds=1) + networks(FROM_SCRATCH, 118, count, seeds=1)
    sentences = describe_curve(only(table_of(*runs, all_columns=True), "data.train_fraction"))
    assert "not shown to differ from training from scratch" in sentences[1]
    assert "cannot be told within this data" in sentences[2]


def test_a_single_seed_speaks_for_itself_alone() -> None:
    runs = []
    for count, tuned, scratch in zip(COUNTS, (110, 130, 146), (60, 75, 112), strict=True):
        runs += networks(FINE_TUNE, tuned, count, seeds=1) + networks(FROM_SCRATCH, scratch, count, seeds=1)
    sentences = describe_curve(only(table_of(*runs, all_columns=True), "data.train_fraction"))
    assert all("other seeds may do otherwise" in sentence for sentence in sentences[1:])


def test_the_best_in_the_middle_is_among_the_figures() -> None:
    runs = []
    for rate, right in (("0.001", 100), ("0.01", 145), ("0.1", 120)):
        runs += networks(FINE_TUNE, right, more={"optimizer.lr": rate})
    curve = only(table_of(*runs), "optimizer.lr")
    assert "66.0 % with 0.001, 95.4 % with 0.01 and 79.1 % with 0.1 (optimizer.lr)" in describe_curve(curve)[0]
    draw_curve(curve, "png")


def test_a_metric_that_is_another_is_named_and_no_law_is_fitted_to_it() -> None:
    runs = []
    for count, loss in zip((10, 20, 40, 80, 160), (0.9, 0.7, 0.55, 0.45, 0.4), strict=True):
        for record, _ in networks(FINE_TUNE, 100, count):
            runs.append(replace(record, metrics=record.metrics | {"eval/loss": loss}))
    curve = only(build_table(runs, metric="eval/loss"), "data.train_fraction")
    assert describe_curve(curve)[0].endswith(
        ", eval/loss: fine-tuned 0.9000 with 10 and 0.4000 with 160 training images"
    )
    draw_curve(curve, "svg")


def test_a_column_with_one_value_is_no_line_across_the_picture() -> None:
    runs = networks(FINE_TUNE, 146, COUNTS[-1])
    for count in COUNTS:
        runs += networks(FROM_SCRATCH, 90, count)
    curve = only(table_of(*runs, all_columns=True), "data.train_fraction")
    assert [(line.column, len(line.points)) for line in curve.lines] == [("fine_tune", 1), ("from_scratch", 3)]
    assert curve.constant == ()
    draw_curve(curve, "png")


def test_rows_of_the_same_value_are_counted() -> None:
    runs = []
    for count in COUNTS:
        runs += networks(FINE_TUNE, 120, count)
    other = networks(FINE_TUNE, 90, COUNTS[0], more={"data.train": "f" * 64})
    curve = only(table_of(*runs, *other), "data.train_fraction")
    assert curve.hidden == 1
    assert "a row is not shown, since a newer one has the same value of data.train_fraction" in describe_curve(curve)


def test_a_setting_that_is_off_in_some_runs_has_a_place() -> None:
    runs, configs = [], {}
    for norm in (None, "1.0"):
        for record, frame in networks(FINE_TUNE, 120, more={} if norm is None else {"training.clip_norm": norm}):
            runs.append((record, frame))
            configs[record.run_id] = "training: {clip_norm: null}"
    (curve,) = curves_along(table_of(*runs), "training.clip_norm", lambda record: configs[record.run_id])
    assert [point.x for point in curve.lines[0].points] == ["off", 1.0]


def test_a_setting_that_is_a_param_needs_no_other_file() -> None:
    runs = []
    for epochs, tuned, scratch in ((5, 140, 60), (50, 146, 100)):
        more = {"training.epochs": str(epochs)}
        runs += networks(FINE_TUNE, tuned, more=more) + networks(FROM_SCRATCH, scratch, more=more)
    longer = networks(FROM_SCRATCH, 120, more={"training.epochs": "200"})
    curve = only(table_of(*runs, *longer, all_columns=True), "training.epochs")
    assert [[point.x for point in line.points] for line in curve.lines] == [[5, 50], [5, 50, 200]]
    assert curve.label == "epochs"


def test_frozen_networks_that_lack_a_param_are_on_the_same_curve() -> None:
    runs = []
    for count in COUNTS:
        runs += networks(LINEAR_PROBE, 120, count)
    for count in COUNTS[:2]:
        runs += networks(FINE_TUNE, 120, count, more={"model.bn_momentum": "0.1"})
    curve = only(table_of(*runs, all_columns=True), "data.train_fraction")
    assert [len(line.points) for line in curve.lines] == [2, 3]


def test_runs_of_an_earlier_version_have_the_share_in_place_of_the_number_of_images() -> None:
    runs = []
    configs = {}
    for share, right in ((0.1, 90), (0.5, 120), (None, 140)):
        for record, frame in networks(FINE_TUNE, right, int(100 * (share or 1))):
            tags = {name: text for name, text in record.tags.items() if name != Tag.TRAINING_IMAGES}
            runs.append((replace(record, tags=tags), frame))
            configs[record.run_id] = f"data: {{train_fraction: {'null' if share is None else share}}}"
    (curve,) = curves_along(table_of(*runs), "data.train_fraction", lambda record: configs[record.run_id])
    assert [point.x for point in curve.lines[0].points] == [0.1, 0.5, 1.0]
    assert "with 0.1 and 92.2 % with 1 of the training images" in describe_curve(curve)[0]


def test_stages_that_are_trained_are_columns_in_their_order() -> None:
    runs = [
        *networks(LINEAR_PROBE, 130),
        *networks(("pretrained", "task", "2"), 138),
        *networks(("pretrained", "task", "1"), 133),
        *networks(FINE_TUNE, 146),
    ]
    curve = only(table_of(*runs, all_columns=True), "training.trainable")
    assert [point.x for point in curve.lines[0].points] == ["head", "1", "2", "all"]
    first, last = describe_curve(curve)
    assert first.endswith("85.6 % with head, 87.6 % with 1, 90.8 % with 2 and 96.1 % with all (trained stages)")
    assert last.startswith("fine-tuning is better than training only the head, +10.5 points")


def test_networks_are_names_on_the_axis() -> None:
    runs = []
    for arch, weights, tuned in (("resnet18", "aa", 120), ("resnet50", "bb", 140)):
        more = {"arch.name": arch, "model.weights": weights}
        runs += networks(FINE_TUNE, tuned, more=more)
        scratch = {name: text for name, text in more.items() if name != "model.weights"}
        runs += networks(FROM_SCRATCH, 70, more=scratch)
    curve = only(table_of(*runs), "arch.name")
    assert [point.x for point in curve.lines[0].points] == ["resnet18", "resnet50"]
    assert "with resnet18 and resnet50 (arch.name)" in " ".join(describe_curve(curve))
    draw_curve(curve, "png")


def test_rows_of_several_data_sets_are_curves_of_their_own() -> None:
    runs = []
    for data in ("a5" * 32, "b6" * 32):
        for count in COUNTS:
            runs += networks(FINE_TUNE, 120, count, more={"data.eval": data})
    assert len(curves_along(table_of(*runs), "data.train_fraction", lambda _: "")) == 2


@pytest.mark.parametrize("key", ["training.epochs", "optimizer.lrr"])
def test_a_setting_that_no_run_varies_is_said_with_those_that_some_vary(key: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        curves_along(along_images(), key, lambda _: "not: [yaml")
    assert str(raised.value) == f"--x {key}: no two runs differ in it alone; they differ in data.train_fraction"


@pytest.mark.parametrize("key", ["training.trainable", "model.stages"])
def test_columns_too_few_for_a_curve_are_said(key: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        curves_along(along_images(), key, lambda _: "")
    assert str(raised.value) == f"--x {key}: no row has three columns that differ in it; sweep over it"


def test_pictures_are_files_of_their_kind_and_the_same_each_time() -> None:
    curve = only(along_images(), "data.train_fraction")
    with Image.open(io.BytesIO(draw_curve(curve, "png"))) as picture:
        assert picture.format == "PNG" and np.asarray(picture.convert("L")).std() > 5
    assert ElementTree.fromstring(draw_curve(curve, "svg")).tag.endswith("svg")
    for kind in ("png", "svg"):
        assert draw_curve(curve, kind) == draw_curve(curve, kind)


def test_further_pictures_have_their_number() -> None:
    assert [numbered("curve.png", 1), numbered("to/curve.png", 2)] == ["curve.png", "to/curve-2.png"]
