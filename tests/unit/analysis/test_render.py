"""The table as text, byte for byte."""

from __future__ import annotations

import json

import pytest
from fabricated import (
    ENDINGS,
    FINE_TUNE,
    FROM_SCRATCH,
    LINEAR_PROBE,
    ZERO_SHOT,
    golden_records,
    run,
    three_columns,
)

from analysis.comparison_table import Table, build_table
from analysis.narrative import format_interval, rounded
from analysis.render import FORMATS, format_cell, render
from analysis.rows import Cell
from tlft.config.paths import PROJECT


@pytest.fixture(scope="module")
def table() -> Table:
    return build_table(golden_records(), published=True, command="python -m analysis.table --published")


@pytest.fixture
def three() -> Table:
    return three_columns()


@pytest.mark.parametrize("format", FORMATS)
def test_golden_tables(table: Table, format: str) -> None:
    golden = PROJECT / "tests" / "data" / f"table.{ENDINGS[format]}"
    assert render(table, format, width=80) + "\n" == golden.read_text(encoding="utf-8")


def test_number_is_never_minus_zero() -> None:
    assert rounded(-0.0001, 3) == "0.000"
    assert format_cell(Cell(-0.0, 0.0, 2, None, ()), "eval/loss") == "0.0000 ± 0.0000 (n=2)"


def test_loss_is_not_a_percentage() -> None:
    assert format_cell(Cell(1.25, None, 1, None, ()), "eval/loss") == "1.2500"
    assert format_cell(Cell(0.5, 0.1, 2, None, ()), "eval/macro_f1") == "50.00 ± 10.00 % (n=2)"
    assert format_cell(None, "eval/loss") == "-"


@pytest.mark.parametrize("width", [40, 80, 100, 140])
def test_terminal_shows_every_figure_whole(table: Table, width: int) -> None:
    text = render(table, "terminal", width=width)
    for figure in ("86.928 %", "95.42 ± 0.65 %", "69.61 ± 1.39 %", "(n=3)", "(n=2)", "97.386 %", "failed (1)"):
        assert figure in " ".join(text.split())
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= max(width, 60)


def test_a_row_stacks_before_a_figure_is_cut() -> None:
    records = [run(column, 0.9) for column in (ZERO_SHOT, FINE_TUNE, FROM_SCRATCH, LINEAR_PROBE)]
    text = render(build_table(records, all_columns=True), "terminal", width=80)
    for line in ("photos, resnet50", "  sgd lr 0.01", "    untouched     90.000 %", "    linear probe  90.000 %"):
        assert f"\n{line}" in f"\n{text}"


def test_characters_of_names_do_no_harm() -> None:
    nasty = r"a|b_c [red]%&$#{} \x ~^ *d* `e` <f>"
    table = build_table([run(FINE_TUNE, data=nasty)], command="python --a 'b`c'")
    (row,) = [line for line in render(table, "markdown").splitlines() if "resnet50" in line]
    assert row.replace(r"\|", "").count("|") == 7
    assert r"a\|b_c \[red\]%&$#{} \\x ~^ \*d\* \`e\` &lt;f&gt;" in row
    (row,) = [line for line in render(table, "latex").splitlines() if "resnet50" in line]
    assert r"a\textbar{}b\_c [red]\%\&\$\#\{\} \textbackslash{}x \textasciitilde{}\textasciicircum{}" in row
    assert "Made by: python -{}-a" in render(table, "latex")
    assert nasty in render(table, "terminal", width=140)
    assert json.loads(render(table, "json"))["rows"][0]["data"] == nasty


def test_every_format_shows_the_intervals(three: Table) -> None:
    interval = three.interval(three.rows[0], "fine_tune")
    assert interval is not None
    assert format_interval(interval) == "[90.9, 97.8]"
    for format in ("terminal", "markdown", "latex"):
        text = render(three, format)
        assert "[90.9, 97.8]" in text.replace("\\", "")
        assert "spoils" in text
    frame = three.to_frame()
    assert frame["fine_tune_low"][0] == pytest.approx(interval.low)
    assert frame["fine_tune_images"][0] == 153
    assert frame["fine_tune_groups"].isna().all()


def test_json_has_cells_and_comparisons(three: Table) -> None:
    whole = json.loads(render(three, "json"))
    cell = whole["rows"][0]["cells"]["zero_shot"]
    assert cell["interval"]["kind"] == "this trained network only"
    assert cell["closed_set_interval"]["high"] > cell["interval"]["high"]
    assert set(cell["recalls"]) == {"ants", "bees"}
    first = whole["comparisons"][0]
    assert (first["row"], first["new"], first["old"], first["corrected"]) == (0, "fine_tune", "zero_shot", 14)
    assert first["p_holm"] == pytest.approx(2 * first["p"])
    assert len(whole["comparisons"]) == 5
    assert (whole["rows"][0]["cells"]["fine_tune"]["images"], whole["rows"][0]["cells"]["fine_tune"]["groups"]) == (
        153,
        None,
    )


def test_without_statistics_nothing_is_added(three: Table) -> None:
    plain = build_table(three.runs)
    assert json.loads(render(plain, "json"))["comparisons"] == []
    assert "[" not in render(plain, "markdown")
