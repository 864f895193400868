"""What the predictions of a table's runs show, and that it is said as it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fabricated import FINE_TUNE, FROM_SCRATCH, IMAGES, LINEAR_PROBE, ZERO_SHOT, predict, run, table_of, three_columns

from analysis.comparison_table import Table, add_evidence, build_table
from analysis.footnotes import footnotes
from analysis.narrative import headline
from analysis.statistics import wilson_interval
from tlft.names import Tag
from tlft.records.record import Record
from tlft.tracking.reader import ArtifactReader


@pytest.fixture
def three() -> Table:
    return three_columns()


def test_what_is_corrected_and_what_is_spoiled_is_counted(three: Table) -> None:
    assert three.evidence is not None
    open_set = three.evidence.claims[0]
    assert (open_set.new, open_set.old, open_set.closed_set) == ("fine_tune", "zero_shot", False)
    assert (open_set.comparison.corrected, open_set.comparison.spoiled) == (14, 1)
    notes = " ".join(footnotes(three))
    assert "This fine-tuned network corrects 14 images that the untouched network gets wrong and spoils 1" in notes
    assert "how other seeds would do is not known" in notes
    assert "corrected (Holm) for the 5 comparisons of the three columns of a row together; each interval" in notes
    assert (
        "This fine-tuned network against the untouched network: with 153 images, 0.7 % of which the untouched network "
        "alone gets right, a difference of 7.9 points or more, either way, would be found at least four times in five"
    ) in notes


def test_the_closed_set_has_a_comparison_of_its_own(three: Table) -> None:
    assert three.evidence is not None
    claim = next(claim for claim in three.evidence.claims if claim.closed_set)
    assert claim.comparison.difference == pytest.approx((146 - 149) / IMAGES)
    assert not claim.significant
    assert "scored on ants and bees alone, gets wrong and spoils 3" in " ".join(footnotes(three))
    assert "; a difference is not shown." in " ".join(footnotes(three))


def test_closed_set_those_alone_are_compared_who_choose_among_the_same_classes() -> None:
    fewer, more = predict(133, closed=149, images=100), predict(146)
    more["p/wasps"] = 0.0
    more.loc[100:, "label"] = "wasps"
    table = table_of((run(ZERO_SHOT), fewer), (run(FINE_TUNE), more), (run(FROM_SCRATCH), more))
    assert table.evidence is not None
    assert [(claim.new, claim.old, claim.closed_set) for claim in table.evidence.claims] == [
        ("fine_tune", "zero_shot", False),
        ("fine_tune", "from_scratch", False),
        ("zero_shot", "from_scratch", False),
    ]
    notes = " ".join(footnotes(table))
    assert "53 images left out that one side did not see, closed-set 3 and 2 classes compete, which is not" in notes
    assert "closed-set 2 and 3 classes compete, which is not compared" in notes


def test_of_a_run_that_is_evaluated_again_other_seeds_are_not_known() -> None:
    evaluated = run(("pretrained", "task", "none"), model__head="kept")
    seeds = [(run(FINE_TUNE, seed=str(seed)), predict(140 + seed)) for seed in range(3)]
    table = table_of((evaluated, predict(133)), *seeds, all_columns=True)
    assert table.evidence is not None
    assert {claim.comparison.seeds_unknown for claim in table.evidence.claims} == {True}


def test_over_seeds_the_means_are_told_and_the_interval_holds_for_new_seeds() -> None:
    seeds = [(run(FINE_TUNE, n / IMAGES, seed=str(s)), predict(n)) for s, n in enumerate((145, 146, 147))]
    table = table_of((run(ZERO_SHOT, 133 / IMAGES), predict(133)), *seeds)
    assert table.evidence is not None
    claim = table.evidence.claims[0]
    assert not claim.comparison.seeds_unknown
    assert claim.comparison.networks == (3, 1)
    assert "Fine-tuning on average corrects 13.0 images that" in " ".join(footnotes(table))
    assert "other seeds may do otherwise" not in headline(table)
    cell = table.evidence_of(table.rows[0], "fine_tune")
    assert cell is not None
    assert cell.interval.kind == "images and seeds"


def test_untouched_against_several_seeds_from_scratch_holds_for_new_seeds() -> None:
    scratch = [(run(FROM_SCRATCH, n / IMAGES, seed=str(s)), predict(n)) for s, n in enumerate((100, 104, 110))]
    table = table_of((run(ZERO_SHOT, 133 / IMAGES), predict(133)), *scratch)
    assert table.evidence is not None
    open_set, closed_set = table.evidence.claims
    for claim in (open_set, closed_set):
        assert (claim.new, claim.old) == ("zero_shot", "from_scratch")
        assert not claim.comparison.seeds_unknown
    assert (open_set.closed_sides, closed_set.closed_sides) == ((), ("zero_shot",))


def test_the_comparisons_of_a_row_are_corrected_together_whatever_else_is_shown() -> None:
    """Untouched and from scratch join each row; only what is fine-tuned differs."""
    tuned = [(run(FINE_TUNE, model__bn_momentum=momentum), predict(140)) for momentum in ("0.1", "0.01")]
    table = table_of((run(ZERO_SHOT), predict(133, closed=149)), *tuned, (run(FROM_SCRATCH), predict(105)))
    assert table.evidence is not None
    assert [[claim.family for claim in table.evidence.claims_of(row)] for row in table.rows] == [[5] * 5] * 2
    assert "5 comparisons of other rows are shown by --stats full." in " ".join(footnotes(table))
    first = table_of((run(ZERO_SHOT), predict(133, closed=149)), tuned[0], (run(FROM_SCRATCH), predict(105))).evidence
    assert first is not None
    in_both = [c for row in table.rows for c in table.evidence.claims_of(row) if c.row.recipe.endswith("momentum 0.1")]
    assert [claim.p for claim in first.claims] == [claim.p for claim in in_both]


def test_further_columns_are_a_family_of_their_own() -> None:
    runs = [(run(ZERO_SHOT), predict(133)), (run(FINE_TUNE), predict(141)), (run(FROM_SCRATCH), predict(105))]
    more = (run(LINEAR_PROBE, training__epochs="5"), predict(140))
    three, four = table_of(*runs).evidence, table_of(*runs, more, all_columns=True).evidence
    assert three is not None
    assert four is not None
    p_values = {(claim.closed_set, claim.new, claim.old): claim.p for claim in three.claims}
    assert len(four.claims) > len(three.claims)
    for claim in four.claims:
        if {claim.new, claim.old} <= {"zero_shot", "fine_tune", "from_scratch"}:
            assert claim.p == p_values[claim.closed_set, claim.new, claim.old]


def test_images_are_paired_by_their_content_and_those_of_one_side_are_left_out() -> None:
    shuffled = predict(146).sample(frac=1, random_state=0)
    table = table_of((run(ZERO_SHOT), predict(133)), (run(FINE_TUNE), shuffled.iloc[:-2]))
    assert table.evidence is not None
    (claim, *_) = table.evidence.claims
    assert claim.comparison.images == IMAGES - 2
    assert "2 images left out that one side did not see" in " ".join(footnotes(table))


def test_every_two_columns_are_compared() -> None:
    runs = [(run(column), predict(140)) for column in (LINEAR_PROBE, ZERO_SHOT, FROM_SCRATCH)]
    table = table_of(*runs, all_columns=True)
    assert table.evidence is not None
    assert [(claim.new, claim.old, claim.family) for claim in table.evidence.claims] == [
        ("zero_shot", "from_scratch", 2),
        ("zero_shot", "from_scratch", 2),
        ("linear_probe", "zero_shot", 3),
        ("linear_probe", "zero_shot", 3),
        ("linear_probe", "from_scratch", 3),
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


def test_what_cannot_be_compared_is_said() -> None:
    """Columns that saw other images, and seeds of one cell that did."""
    elsewhere = predict(140).assign(sha256=[f"other{number}" for number in range(IMAGES)])
    columns = table_of((run(ZERO_SHOT), predict(133)), (run(FINE_TUNE), elsewhere))
    apart = "photos, resnet50, fine-tuning and the untouched network"
    assert f"Not compared, since no image was seen by both: {apart}." in footnotes(columns)
    seeds = table_of((run(FINE_TUNE, seed="0"), predict(140)), (run(FINE_TUNE, seed="1"), elsewhere))
    assert "no image was seen by all runs: photos, resnet50, fine-tuning." in " ".join(footnotes(seeds))


def test_a_small_difference_is_not_rounded_out_of_its_interval() -> None:
    table = table_of((run(ZERO_SHOT), predict(18000, images=20000)), (run(FINE_TUNE), predict(18008, images=20000)))
    assert "+0.04 points (95 % interval 0.01 to 0.09, p = 0.009)" in headline(table)


def test_what_was_never_seen_may_be_missed() -> None:
    notes = " ".join(footnotes(table_of((run(ZERO_SHOT), predict(133)), (run(FINE_TUNE), predict(146)))))
    assert "none of which the untouched network alone gets right (so that up to 1.9 % may be, with 95 % conf" in notes
    assert "a difference of 8.5 points or more, either way, would be found at least four times in five" in notes


def test_the_power_of_mcnemars_test_is_not_told_of_several_networks() -> None:
    seeds = [(run(FINE_TUNE, seed=str(seed)), predict(right)) for seed, right in enumerate((146, 146, 77))]
    table = table_of((run(ZERO_SHOT), predict(133, closed=149)), *seeds)
    assert "four times in five" not in " ".join(footnotes(table))
    assert table.evidence is not None
    assert {claim.smallest_difference for claim in table.evidence.claims} == {None}


def test_a_tiny_difference_that_is_found_is_not_rounded_to_nothing() -> None:
    table = table_of(
        (run(ZERO_SHOT), predict(90_000, images=100_000)), (run(FINE_TUNE), predict(90_001, images=100_000))
    )
    assert "a difference of 0.02 points or more, either way" in " ".join(footnotes(table))


def test_which_comparisons_hold_for_these_networks_alone_is_said() -> None:
    tuned = [(run(FINE_TUNE, seed=str(seed)), predict(140 + seed)) for seed in range(2)]
    scratch = [(run(FROM_SCRATCH, seed=str(seed)), predict(100 + seed)) for seed in range(3)]
    notes = footnotes(table_of((run(ZERO_SHOT), predict(133)), *tuned, *scratch))
    which = "The comparisons of fine-tuning with the untouched network; of fine-tuning with training from scratch hold"
    assert any(note.startswith(which) for note in notes)


def test_which_row_rests_on_too_few_seeds_is_said() -> None:
    elsewhere = {"data.eval": "dd" * 32, "data.train": "ee" * 32}
    seeds = [
        (run(FINE_TUNE, data="other", changes={**elsewhere, "seed": str(seed)}), predict(140 + seed))
        for seed in range(3)
    ]
    untouched = (run(ZERO_SHOT, data="other", changes={"data.eval": "dd" * 32}), predict(133))
    alone = [(run(ZERO_SHOT), predict(133)), (run(FINE_TUNE), predict(146))]
    warnings = [note for note in footnotes(table_of(*alone, untouched, *seeds, full=True)) if "other seeds" in note]
    few = "the comparisons hold for the networks that were trained"
    assert [warning.partition(",")[0] for warning in warnings if few in warning] == ["photos"]


def test_a_cell_whose_runs_saw_different_images_says_so_in_the_headline() -> None:
    seeds = [(run(FINE_TUNE, right / 153, seed=str(right)), predict(right)) for right in (140, 141)]
    fewer = (run(FINE_TUNE, 1.0, seed="2"), predict(100).iloc[:100])
    table = table_of((run(ZERO_SHOT, 133 / 153), predict(133)), *seeds, fewer)
    assert "(n=3, not all on the same images: comparisons are of those that all saw)" in headline(table)


def test_what_else_is_shown_changes_no_verdict() -> None:
    """Another data set, another architecture and another recipe beside a row, and filters that leave them out."""
    ours = [
        (run(ZERO_SHOT), predict(133, closed=149)),
        (run(FINE_TUNE), predict(141)),
        (run(FROM_SCRATCH), predict(130)),
    ]
    elsewhere = {"data.eval": "dd" * 32, "data.train": "ee" * 32}
    others = [
        *((run(column, data="other", changes=elsewhere), predict(140)) for column in (ZERO_SHOT, FINE_TUNE)),
        (run(FINE_TUNE, arch__name="resnet18", model__weights="f37072fd"), predict(139)),
        (run(FINE_TUNE, optimizer__lr="0.1"), predict(144)),
    ]
    frames = {record.run_id: frame for record, frame in (*ours, *others)}

    def verdicts(records: list[Record], **query: Any) -> list[tuple[object, ...]]:
        evidence = add_evidence(build_table(records, **query), frames).evidence
        assert evidence is not None
        ids = {record.run_id for record, _ in ours}
        return [
            (claim.new, claim.old, claim.closed_set, claim.p, claim.comparison.interval)
            for claim in evidence.claims
            if all(ids.issuperset(claim.row.cells[side].run_ids) for side in claim.row.cells)
        ]

    alone = verdicts([record for record, _ in ours])
    everything = [record for record, _ in (*ours, *others)]
    assert len(alone) == 5
    assert verdicts(everything) == alone
    assert verdicts(everything, data=["photos"]) == alone
    assert verdicts(everything, arch=["resnet50"], all_columns=True) == alone


def test_groups_that_contradict_each_other_are_said() -> None:
    def grouped(size: int) -> pd.DataFrame:
        return predict(140).assign(group=[f"burst{number // size}" for number in range(IMAGES)])

    said = "Runs on the same evaluation images put them into different groups; those of the newest run are taken."
    alike = table_of(*((run(FINE_TUNE, seed=str(seed)), grouped(3)) for seed in range(2)))
    apart = table_of(*((run(FINE_TUNE, seed=str(seed)), grouped(3 * seed + 2)) for seed in range(2)))
    assert said not in footnotes(alike)
    assert said in footnotes(apart)
    assert "153 evaluation images in 31 groups" in " ".join(footnotes(apart))


def test_groups_that_no_split_was_checked_for_are_said() -> None:
    frame = predict(140).assign(group=[f"burst{number // 3}" for number in range(IMAGES)])
    plain, zero_shot = run(FINE_TUNE), run(ZERO_SHOT)
    stated = replace(plain, tags={**plain.tags, "data_group": "(burst[0-9]+)"})

    def warnings(record: Record, grouping: str | None) -> list[str]:
        records = [record, zero_shot]
        table = add_evidence(build_table(records), {one.run_id: frame for one in records}, grouping=grouping)
        return [note for note in footnotes(table) if "trained without data.group" in note]

    assert warnings(stated, None) == warnings(stated, "(burst[0-9]+)") == []
    assert warnings(zero_shot, "(burst[0-9]+)") == []  # it was not trained
    assert "photos: networks were trained without data.group=(b), perhaps" in warnings(stated, "(b)")[0]
    assert len(warnings(plain, "(burst[0-9]+)")) == 1
    frame = frame.drop(columns="group")
    assert warnings(plain, None) == []


def test_notes_speak_of_the_rows_that_are_shown() -> None:
    other = run(FROM_SCRATCH, data="other", changes={"data.eval": "dd" * 32, "data.train": "ee" * 32})
    other = replace(other, tags={**other.tags, "data_origin": "drawn"})
    table = table_of((run(FINE_TUNE), predict(140)), (other, predict(120)))
    (shown,) = (row for row in table.rows if row.data == "photos")
    assert any(note == "other: drawn." for note in footnotes(table))
    assert not any("other" in note and "drawn" in note for note in footnotes(table, [shown]))


@pytest.mark.parametrize("asked", [False, True])
def test_that_the_untouched_network_is_not_asked_is_said_only_where_it_is_so(asked: bool) -> None:
    trained = run(FINE_TUNE)
    runs = [replace(trained, tags=trained.tags | {Tag.UNMAPPED: "cats"}), *([run(ZERO_SHOT)] if asked else [])]
    notes = " ".join(footnotes(build_table(runs)))
    assert ("the untouched network is not asked" in notes) is not asked
