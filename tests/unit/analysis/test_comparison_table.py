"""The comparison table as a whole."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
from fabricated import FINE_TUNE, FROM_SCRATCH, LINEAR_PROBE, golden_records, run

from analysis.comparison_table import Table, add_evidence, build_table
from analysis.render import format_cell
from tlft.config.columns import THREE
from tlft.records.record import Record


@pytest.fixture(scope="module")
def table() -> Table:
    return build_table(golden_records(), published=True, command="python -m analysis.table --published")


def test_records_survive_json() -> None:
    assert len(golden_records()) >= 15
    assert [Record(**json.loads(json.dumps(asdict(record)))) for record in golden_records()] == golden_records()


def test_order_of_records_does_not_matter(table: Table) -> None:
    assert build_table(golden_records()[::-1], published=True, command=table.command) == table


@pytest.mark.parametrize("name", ["efficientnet_lite0", "tf_efficientnet_lite0", "timm/tf_efficientnet_lite0"])
def test_architecture_is_chosen_by_any_of_its_names(name: str) -> None:
    assert {row.arch for row in build_table(golden_records(), arch=[name]).rows} == {"efficientnet_lite0"}
    assert build_table(golden_records(), arch=name) == build_table(golden_records(), arch=[name])


def test_published_figures_are_a_row(table: Table) -> None:
    (row,) = [row for row in table.rows if row.published]
    figures = [format_cell(row.cells[column.key], table.metric) for column in THREE]
    assert figures == ["86.928 %", "95.425 %", "68.627 %"]


def test_frame_holds_numbers_in_full_precision(table: Table) -> None:
    frame = table.to_frame()
    line = frame[(frame["arch"] == "resnet50") & frame["recipe"].str.startswith("sgd")].iloc[0]
    assert line["from_scratch_accuracy"] == pytest.approx((105 + 108) / 2 / 153, abs=1e-15)
    assert line["from_scratch_n"] == 2
    assert frame["zero_shot_std"].isna().all()


def test_other_metrics_have_no_intervals() -> None:
    table = build_table([run(FINE_TUNE)], metric="eval/closed_set_accuracy")
    assert add_evidence(table, {}).evidence is None


def test_name_of_a_run_does_not_choose_its_column() -> None:
    (row,) = build_table([replace(run(FROM_SCRATCH), name="zero_shot pretrained")]).rows
    assert set(row.cells) == {"from_scratch"}


def test_every_run_left_out_is_counted_by_its_reason() -> None:
    older, newer = run(FINE_TUNE, 0.1), run(FINE_TUNE, 0.9)
    others = [
        run(FINE_TUNE, status="FAILED"),
        run(FINE_TUNE, status="RUNNING", seed="1"),
        run(FINE_TUNE, status="KILLED", seed="2"),
        run(FINE_TUNE, status="SCHEDULED", seed="3"),
        replace(run(FINE_TUNE, seed="4"), deleted=True),
        replace(run(FINE_TUNE, seed="5"), tags={"data": "photos", "debug": "true"}),
        replace(run(FINE_TUNE, seed="6"), metrics={}),
        replace(run(FINE_TUNE, seed="7"), metrics={"eval/accuracy": float("nan")}),
        replace(run(FINE_TUNE), key=""),
        run(LINEAR_PROBE),
    ]
    table = build_table([newer, older, *others])
    assert [{key: cell.accuracy for key, cell in row.cells.items()} for row in table.rows] == [{"fine_tune": 0.9}]
    assert table.left_out == {
        "failed": 1,
        "unfinished": 3,
        "deleted": 1,
        "debug": 1,
        "without eval/accuracy": 2,
        "not a tlft run": 1,
        "other columns": 1,
        "superseded": 1,
    }
    assert len(table.runs) + sum(table.left_out.values()) == 2 + len(others)


def test_deleted_run_does_not_supersede() -> None:
    old, new = run(FINE_TUNE, 0.8), replace(run(FINE_TUNE, 0.9), deleted=True)
    assert build_table([old, new]).rows[0].cells["fine_tune"].accuracy == 0.8
