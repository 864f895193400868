"""Which runs count in a comparison, and in which column."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fabricated import FINE_TUNE, FROM_SCRATCH, LINEAR_PROBE, ZERO_SHOT, run

from analysis.comparison_table import build_table
from tlft.config.columns import THREE, column_of


@pytest.mark.parametrize(
    ("column", "key", "title"),
    [
        (ZERO_SHOT, *vars(THREE[0]).values()),
        (FINE_TUNE, *vars(THREE[1]).values()),
        (FROM_SCRATCH, *vars(THREE[2]).values()),
        (LINEAR_PROBE, "linear_probe", "pretrained, new head, only the head trained"),
        (("pretrained", "task", "2"), "partial_2", "pretrained, new head, last 2 stages trained"),
        (("pretrained", "task", "1"), "partial_1", "pretrained, new head, last stage trained"),
        (("pretrained", "task", "none"), "pretrained_task_none", "pretrained, new head, no fine-tuning"),
        (("scratch", "task", "none"), "scratch_task_none", "from scratch, new head, not trained"),
        (("scratch", "task", "3"), "scratch_task_3", "from scratch, new head, last 3 stages trained"),
    ],
)
def test_column_is_what_the_run_was(column: tuple[str, str, str], key: str, title: str) -> None:
    result = column_of(run(column).params)
    assert result is not None
    assert (result.key, result.title) == (key, title)


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
