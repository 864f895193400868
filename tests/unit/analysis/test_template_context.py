"""What templates show of a table."""

from __future__ import annotations

from fabricated import FINE_TUNE, run

from analysis.comparison_table import build_table
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
