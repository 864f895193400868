"""What the predictions of a table's runs show, and that it is said as it is."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from fabricated import FINE_TUNE, FROM_SCRATCH, IMAGES, LINEAR_PROBE, ZERO_SHOT, predict, run

from analysis.narrative import format_interval, format_p, head_row, headline
from analysis.render import render
from analysis.statistics import wilson_interval
from analysis.table import Table, add_evidence, build_table
from tlft.tracking.reader import ArtifactReader
from tlft.tracking.records import Record


def of(*runs: tuple[Record, pd.DataFrame | None], full: bool = False, all_columns: bool = False) -> Table:
    table = build_table([record for record, _ in runs], command="python -m analysis.table", all_columns=all_columns)
    return add_evidence(table, {r.run_id: frame for r, frame in runs if frame is not None}, full=full)


@pytest.fixture
def three() -> Table:
    return of(
        (run(ZERO_SHOT, 133 / IMAGES), predict(133, closed=149)),
        (run(FINE_TUNE, 146 / IMAGES), predict(146, spoiled=1)),
        (run(FROM_SCRATCH, 105 / IMAGES), predict(105)),
    )


def test_the_answer_is_said_first_and_is_true(three: Table) -> None:
    assert headline(three) == (
        "On photos, resnet50: fine-tuned 95.4 %, untouched 86.9 %, from scratch 68.6 %. Fine-tuning the pretrained "
        "network is better than leaving it untouched, +8.5 points (95 % interval 4.2 to 14.2, "
        "p = 0.002), and is better than training from scratch, +26.8 points (95 % interval 20.0 to 34.5, p < 0.001). "
        "Some of this rests on too few seeds to say how others would do."
    )


def test_what_is_corrected_and_what_is_spoiled_is_counted(three: Table) -> None:
    assert three.evidence is not None
    open_set = three.evidence.claims[0]
    assert (open_set.new, open_set.old, open_set.closed) == ("fine_tune", "zero_shot", False)
    assert (open_set.comparison.corrected, open_set.comparison.spoiled) == (14, 1)
    notes = " ".join(three.footnotes)
    assert "Fine-tuning corrects 14 images that the untouched network gets wrong and spoils 1, of 153: +8.5" in notes
    assert "how other seeds would do is not known" in notes
    assert "p is corrected for all 4 comparisons (Holm)." in notes
    assert "With 153 images, of which 0.7 % are spoiled, a difference between two networks below 6.5 points" in notes


def test_the_closed_set_has_a_comparison_of_its_own(three: Table) -> None:
    assert three.evidence is not None
    claim = next(claim for claim in three.evidence.claims if claim.closed)
    assert claim.comparison.difference == pytest.approx((146 - 149) / IMAGES)
    assert not claim.shown
    assert "scored on the data's classes alone, gets wrong and spoils 3" in " ".join(three.footnotes)
    assert "; a difference is not shown." in " ".join(three.footnotes)


def test_over_seeds_the_means_are_told_and_the_interval_holds_for_new_seeds() -> None:
    seeds = [(run(FINE_TUNE, n / IMAGES, seed=str(s)), predict(n)) for s, n in enumerate((145, 146, 147))]
    table = of((run(ZERO_SHOT, 133 / IMAGES), predict(133)), *seeds)
    assert table.evidence is not None
    claim = table.evidence.claims[0]
    assert not claim.comparison.seeds_unknown
    assert claim.comparison.networks == (3, 1)
    assert "Fine-tuning on average corrects 13.0 images that" in " ".join(table.footnotes)
    assert "too few seeds" not in headline(table)
    cell = table.evidence_of(table.rows[0], "fine_tune")
    assert cell is not None
    assert cell.interval.kind == "images and seeds"


def test_untouched_against_several_seeds_from_scratch_holds_for_new_seeds() -> None:
    scratch = [(run(FROM_SCRATCH, n / IMAGES, seed=str(s)), predict(n)) for s, n in enumerate((100, 104, 110))]
    table = of((run(ZERO_SHOT, 133 / IMAGES), predict(133)), *scratch)
    assert table.evidence is not None
    (claim,) = table.evidence.claims
    assert (claim.new, claim.old) == ("zero_shot", "from_scratch")
    assert not claim.comparison.seeds_unknown


def test_a_comparison_that_stands_in_several_rows_counts_once() -> None:
    """Untouched and from scratch join each row; only what is fine-tuned differs."""
    tuned = [(run(FINE_TUNE, model__bn_momentum=momentum), predict(140)) for momentum in ("0.1", "0.01")]
    table = of((run(ZERO_SHOT), predict(133, closed=149)), *tuned, (run(FROM_SCRATCH), predict(105)))
    assert table.evidence is not None
    assert [len(table.evidence.of(row)) for row in table.rows] == [4, 4]
    assert len({claim.question for claim in table.evidence.claims}) == 7
    assert "p is corrected for all 7 comparisons (Holm). The 3 of other rows" in " ".join(table.footnotes)


def test_every_format_shows_the_intervals(three: Table) -> None:
    interval = three.interval(three.rows[0], "fine_tune")
    assert interval is not None
    assert format_interval(interval) == "[90.9, 97.8]"
    for format in ("terminal", "markdown", "latex"):
        text = render(three, format)
        assert "[90.9, 97.8]" in text.replace("\\", "")
        assert "spoils" in text
    assert three.to_frame()["fine_tune_low"][0] == pytest.approx(interval.low)


def test_json_has_cells_and_comparisons(three: Table) -> None:
    whole = json.loads(render(three, "json"))
    cell = whole["rows"][0]["cells"]["zero_shot"]
    assert cell["interval"]["kind"] == "this trained network only"
    assert cell["closed_set_interval"]["high"] > cell["interval"]["high"]
    assert set(cell["recalls"]) == {"ants", "bees"}
    first = whole["comparisons"][0]
    assert (first["row"], first["new"], first["old"], first["corrected"]) == (0, "fine_tune", "zero_shot", 14)
    assert first["p_holm"] == pytest.approx(2 * first["p"])
    assert len(whole["comparisons"]) == 4


def test_without_statistics_nothing_is_added(three: Table) -> None:
    plain = build_table(three.runs)
    assert json.loads(render(plain, "json"))["comparisons"] == []
    assert "[" not in render(plain, "markdown")


def test_predictions_that_cannot_be_read_are_said() -> None:
    table = of((run(ZERO_SHOT), None), (run(FINE_TUNE), predict(146)))
    assert table.interval(table.rows[0], "zero_shot") is None
    assert "The predictions of one run cannot be read; such a cell has no interval." in table.footnotes
    assert table.evidence is not None
    assert table.evidence.claims == ()


def test_images_are_paired_by_their_content_and_those_of_one_side_are_left_out() -> None:
    shuffled = predict(146).sample(frac=1, random_state=0)
    table = of((run(ZERO_SHOT), predict(133)), (run(FINE_TUNE), shuffled.iloc[:-2]))
    assert table.evidence is not None
    (claim, *_) = table.evidence.claims
    assert claim.comparison.images == IMAGES - 2
    assert "2 images that one side did not see are left out" in " ".join(table.footnotes)


def test_a_difference_of_recipe_is_said_with_the_comparison() -> None:
    table = of((run(ZERO_SHOT, precision="float32"), predict(133)), (run(FINE_TUNE), predict(146)))
    assert "not alike: precision auto and float32" in " ".join(table.footnotes)


def test_several_recipes_on_the_same_images_are_marked() -> None:
    rates = [(run(FINE_TUNE, seed="0", optimizer__lr=rate), predict(140)) for rate in ("0.01", "0.1")]
    assert "photos, resnet50: 2 recipes were tried on the same evaluation images" in " ".join(of(*rates).footnotes)


def test_one_recipe_for_each_column_is_no_choice() -> None:
    table = of((run(FINE_TUNE), predict(140)), (run(FROM_SCRATCH, training__epochs="15"), predict(105)))
    assert len(table.rows) == 2
    assert "recipes were tried" not in " ".join(table.footnotes)
    assert "Of other recipes, and so not compared: " in headline(table)


def test_every_two_columns_are_compared() -> None:
    runs = [(run(column), predict(140)) for column in (LINEAR_PROBE, ZERO_SHOT, FROM_SCRATCH)]
    table = of(*runs, all_columns=True)
    assert table.evidence is not None
    assert [(claim.new, claim.old) for claim in table.evidence.claims] == [
        ("linear_probe", "zero_shot"),
        ("linear_probe", "zero_shot"),
        ("linear_probe", "from_scratch"),
        ("zero_shot", "from_scratch"),
    ]


def test_copies_of_an_image_count_as_often_as_in_the_figure() -> None:
    frame = predict(100, images=100)
    frame.loc[:9, "sha256"] = frame["sha256"][0]
    frame.loc[:9, "label"] = "bees"
    right = float((frame["label"] == frame["predicted"]).mean())
    table = of((run(FINE_TUNE, right), frame))
    assert table.evidence is not None
    assert table.interval(table.rows[0], "fine_tune") == wilson_interval(100 * right, 100)


def test_full_tells_calibration_and_recall_of_every_row() -> None:
    rates = [(run(FINE_TUNE, optimizer__lr=rate), predict(140)) for rate in ("0.01", "0.1")]
    table = of((run(LINEAR_PROBE), predict(140)), *rates, full=True, all_columns=True)
    told = [note for note in table.footnotes if "expected calibration error 11.5 %" in note]
    assert len(told) == 3
    assert "found of each class: ants 90.9 %, bees 92.1 %" in told[0]


def test_other_metrics_have_no_intervals() -> None:
    table = build_table([run(FINE_TUNE)], metric="eval/closed_set_accuracy")
    assert add_evidence(table, {}).evidence is None


def test_words_for_small_numbers() -> None:
    assert [format_p(p) for p in (0.0004, 0.0005, 0.05, 0.3, 1.0)] == [
        "p < 0.001",
        "p = 0.001",
        "p = 0.050",
        "p = 0.30",
        "p = 1.00",
    ]


def test_the_row_that_is_spoken_of_is_never_chosen_by_its_figures() -> None:
    worse, better = run(FINE_TUNE, 0.8, optimizer__lr="0.1"), run(FINE_TUNE, 0.9)
    newest = run(FINE_TUNE, 0.7, optimizer__lr="0.001")
    row = head_row(build_table([worse, better, newest]))
    assert row is not None
    assert row.cells["fine_tune"].accuracy == 0.7


def test_predictions_are_read_once_and_damaged_files_are_left_out(tmp_path: Path) -> None:
    for name in ("whole", "torn"):
        (tmp_path / name).mkdir()
        predict(140).to_parquet(tmp_path / name / "predictions.parquet")
    torn = tmp_path / "torn" / "predictions.parquet"
    torn.write_bytes(torn.read_bytes()[:100])
    places = {name: (tmp_path / name).as_uri() for name in ("whole", "torn", "gone")}
    records = [Record(name, "", "FINISHED", False, 0, "", {}, {}, {}, uri) for name, uri in places.items()]
    read = ArtifactReader(home=tmp_path).predictions
    assert set(read(records)) == {"whole"}
    (tmp_path / "whole" / "predictions.parquet").unlink()
    assert len(read(records)["whole"]) == IMAGES
