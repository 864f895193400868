"""What templates show of a table."""

from __future__ import annotations

from fabricated import FINE_TUNE, ZERO_SHOT, run

from analysis.comparison_table import build_table
from analysis.narrative import head_row
from analysis.template_context import describe_table, draw_runs


def test_another_metric_has_an_axis_of_its_own() -> None:
    record = run(FINE_TUNE)
    record.metrics["eval/loss"] = 0.25
    table = build_table([record], metric="eval/loss")
    (drawn,) = draw_runs(table)["dots"]
    assert "eval/loss: every run" in drawn["picture"]
    assert "<title>fine-tuned: 0.25</title>" in drawn["picture"]
    assert "%" not in drawn["picture"]
    assert describe_table(table)["caption"] == "eval/loss"


def test_the_row_that_the_answer_speaks_of_is_drawn_first() -> None:
    lone = run(FINE_TUNE, changes={"optimizer": "adam", "optimizer.lr": "0.0001"})
    table = build_table([lone, run(ZERO_SHOT), run(FINE_TUNE)])
    head = head_row(table)
    assert head is not None and table.rows.index(head) == 1
    places = [drawn["place"] for drawn in draw_runs(table)["dots"]]
    assert places == [f"{row.place}, {row.recipe}" for row in (head, table.rows[0])]


def test_the_figure_over_the_datas_classes_alone_stands_in_its_cell() -> None:
    untouched = run(ZERO_SHOT, 0.85)
    untouched.metrics["eval/closed_set_accuracy"] = 0.97386
    cells = describe_table(build_table([untouched, run(FINE_TUNE)]))["rows"][0]["cells"]
    assert [cell and cell["closed"] for cell in cells] == ["closed-set 97.386 %", ""]
