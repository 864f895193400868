"""What the predictions of a table's runs show, and that it is said as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from fabricated import FINE_TUNE, FROM_SCRATCH, IMAGES, LINEAR_PROBE, ZERO_SHOT, predict, run, table_of, three_columns

from analysis.comparison_table import Table
from analysis.narrative import footnotes, headline
from analysis.statistics import wilson_interval
from tlft.tracking.reader import ArtifactReader
from tlft.tracking.records import Record


@pytest.fixture
def three() -> Table:
    return three_columns()


def test_what_is_corrected_and_what_is_spoiled_is_counted(three: Table) -> None:
    assert three.evidence is not None
    open_set = three.evidence.claims[0]
    assert (open_set.new, open_set.old, open_set.closed_set) == ("fine_tune", "zero_shot", False)
    assert (open_set.comparison.corrected, open_set.comparison.spoiled) == (14, 1)
    notes = " ".join(footnotes(three))
    assert "Fine-tuning corrects 14 images that the untouched network gets wrong and spoils 1, of 153: +8.5" in notes
    assert "how other seeds would do is not known" in notes
    assert "p is corrected for all 4 comparisons (Holm)." in notes
    assert "With 153 images, of which 0.7 % are spoiled, a difference between two networks below 6.5 points" in notes


def test_the_closed_set_has_a_comparison_of_its_own(three: Table) -> None:
    assert three.evidence is not None
    claim = next(claim for claim in three.evidence.claims if claim.closed_set)
    assert claim.comparison.difference == pytest.approx((146 - 149) / IMAGES)
    assert not claim.significant
    assert "scored on the data's classes alone, gets wrong and spoils 3" in " ".join(footnotes(three))
    assert "; a difference is not shown." in " ".join(footnotes(three))


def test_over_seeds_the_means_are_told_and_the_interval_holds_for_new_seeds() -> None:
    seeds = [(run(FINE_TUNE, n / IMAGES, seed=str(s)), predict(n)) for s, n in enumerate((145, 146, 147))]
    table = table_of((run(ZERO_SHOT, 133 / IMAGES), predict(133)), *seeds)
    assert table.evidence is not None
    claim = table.evidence.claims[0]
    assert not claim.comparison.seeds_unknown
    assert claim.comparison.networks == (3, 1)
    assert "Fine-tuning on average corrects 13.0 images that" in " ".join(footnotes(table))
    assert "too few seeds" not in headline(table)
    cell = table.evidence_of(table.rows[0], "fine_tune")
    assert cell is not None
    assert cell.interval.kind == "images and seeds"


def test_untouched_against_several_seeds_from_scratch_holds_for_new_seeds() -> None:
    scratch = [(run(FROM_SCRATCH, n / IMAGES, seed=str(s)), predict(n)) for s, n in enumerate((100, 104, 110))]
    table = table_of((run(ZERO_SHOT, 133 / IMAGES), predict(133)), *scratch)
    assert table.evidence is not None
    (claim,) = table.evidence.claims
    assert (claim.new, claim.old) == ("zero_shot", "from_scratch")
    assert not claim.comparison.seeds_unknown


def test_a_comparison_that_stands_in_several_rows_counts_once() -> None:
    """Untouched and from scratch join each row; only what is fine-tuned differs."""
    tuned = [(run(FINE_TUNE, model__bn_momentum=momentum), predict(140)) for momentum in ("0.1", "0.01")]
    table = table_of((run(ZERO_SHOT), predict(133, closed=149)), *tuned, (run(FROM_SCRATCH), predict(105)))
    assert table.evidence is not None
    assert [len(table.evidence.claims_of(row)) for row in table.rows] == [4, 4]
    assert len({claim.key for claim in table.evidence.claims}) == 7
    assert "p is corrected for all 7 comparisons (Holm). The 3 of other rows" in " ".join(footnotes(table))


def test_images_are_paired_by_their_content_and_those_of_one_side_are_left_out() -> None:
    shuffled = predict(146).sample(frac=1, random_state=0)
    table = table_of((run(ZERO_SHOT), predict(133)), (run(FINE_TUNE), shuffled.iloc[:-2]))
    assert table.evidence is not None
    (claim, *_) = table.evidence.claims
    assert claim.comparison.images == IMAGES - 2
    assert "2 images that one side did not see are left out" in " ".join(footnotes(table))


def test_every_two_columns_are_compared() -> None:
    runs = [(run(column), predict(140)) for column in (LINEAR_PROBE, ZERO_SHOT, FROM_SCRATCH)]
    table = table_of(*runs, all_columns=True)
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
    table = table_of((run(FINE_TUNE, right), frame))
    assert table.evidence is not None
    assert table.interval(table.rows[0], "fine_tune") == wilson_interval(100 * right, 100)


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
