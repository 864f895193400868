"""Put the report together: answer, runs, table, comparisons, then what is behind them, row by row."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from analysis.comparison_table import Table
from analysis.curve.series import Curve
from analysis.footnotes import cautions
from analysis.html_page import Answer, render_page
from analysis.narrative import (
    answer,
    capitalize,
    data_sets,
    headline,
    is_share,
    percent,
    rounded,
    short_title,
)
from analysis.recipes import shorten
from analysis.report.comparisons import describe_comparisons
from analysis.report.material import Material
from analysis.report.photographs import add_pictures, describe_photographs
from analysis.report.row_charts import draw_row
from analysis.rows import Row
from analysis.svg_charts import column_class
from analysis.template_context import describe_table, draw_runs
from tlft.config.columns import column_of
from tlft.names import Param, Tag, short_id
from tlft.records.folds import parts_of
from tlft.records.record import Record
from tlft.tracking.client import MACHINE_LEARNING

MAX_CHARACTERS = 5_000_000
_MAX_ROWS_COMPARED = 12
_MAX_RUNS_LISTED = 300
_MOST_NAMED = 3


def render_report(material: Material, title: str) -> str:
    """Return the page, in at most `MAX_CHARACTERS` characters: the photographs have what the rest leaves them."""
    answers, described = _answers(material.table), _describe(material)
    photographs = describe_photographs(material)
    without = render_page("report.html.j2", title, answers, **described, **photographs)
    add_pictures(photographs["sheets"], material, MAX_CHARACTERS - len(without))
    return render_page("report.html.j2", title, answers, **described, **photographs)


def title_of(experiment: str, table: Table) -> str:
    """Return what a page of an experiment is called, which stands among the tabs of a browser: its data sets first."""
    names = data_sets(table)
    listed = ", ".join(names[:_MOST_NAMED]) + (" ..." if len(names) > _MOST_NAMED else "")
    return f"{listed or 'no runs yet'} - {'tlft' if experiment == 'tlft' else f'tlft, {experiment}'}"


def _describe(material: Material) -> dict[str, Any]:
    table = material.table
    return {
        "written": f"{material.written:%d %B %Y, %H:%M %Z}".lstrip("0"),
        **describe_table(table, brief=True),
        **draw_runs(table),
        **describe_comparisons(material),
        "along": [_along(curve, sentences) for curve, sentences in material.along],
        "rows_shown": [{"data": row.data, "name": f"{row.arch}, {row.recipe}"} for row in material.rows],
        "closer": [draw_row(material, row) for row in material.rows],
        "rows_left_out": sum(not row.published for row in table.rows) - len(material.rows),
        "left_out": table.left_out,
        "runs": _runs(material),
        "runs_in_all": len(table.runs),
        "differences": _differences(table),
        "commands": material.commands,
        "environment": material.environment,
    }


def _along(curve: Curve, sentences: Sequence[str]) -> dict[str, Any]:
    """Return what the page shows along a setting, with its picture as an address that holds it."""
    from analysis.curve.drawing import draw_curve  # matplotlib, which other pages need not wait for

    picture = base64.b64encode(draw_curve(curve, "svg")).decode()
    return {
        "title": f"Over {curve.label}",
        "picture": f"data:image/svg+xml;base64,{picture}",
        "sentences": [f"{capitalize(sentence)}." for sentence in sentences],
    }


def _answers(table: Table) -> list[Answer]:
    """Return the sentences and the cautions of each data set, photographs before drawings."""
    answers = []
    for data in data_sets(table):
        first, *further = (f"{capitalize(sentence)}." for sentence in answer(table, data))
        answers.append(Answer(first, tuple(further), tuple(cautions(table, data))))
    return answers or [Answer(headline(table))]


def _runs(material: Material) -> list[dict[str, str]]:
    """Return a line for each run, the newest first, with where its page in MLflow is."""
    lines = []
    table = material.table
    for run in list(reversed(parts_of(table.runs)))[:_MAX_RUNS_LISTED]:
        column = column_of(run.params)
        value = run.metrics[table.metric]
        lines.append(
            {
                "id": short_id(run.run_id),
                "address": f"{material.address}/{run.experiment_id}/runs/{run.run_id}{MACHINE_LEARNING}"
                if run.experiment_id
                else "",
                "name": run.name,
                "data": run.tags.get(Tag.DATA, ""),
                "column": short_title(column) if column is not None else "",
                "colour": column_class(column.key) if column is not None else "",
                "figure": f"{percent(value, 3)} %" if is_share(table.metric) else rounded(value, 4),
            }
        )
    return lines


def _differences(table: Table) -> dict[str, Any] | None:
    """Return the params in which the rows differ, a column per row."""
    all_rows = [row for row in table.rows if not row.published]
    if len(all_rows) < 2:
        return None
    rows = all_rows[:_MAX_ROWS_COMPARED]
    runs = {run.run_id: run for run in table.runs}
    recipes = [_recipe(row, runs) for row in rows]
    names = sorted({name for recipe in recipes for name in recipe})
    params = [(name, [shorten(recipe.get(name, "-")) for recipe in recipes]) for name in names]
    differing = [(name, values) for name, values in params if len(set(values)) > 1]
    if not differing:
        return None
    note = f"The first {len(rows)} of {len(all_rows)} rows." if len(rows) < len(all_rows) else ""
    return {"rows": [f"{row.place}, {row.recipe}" for row in rows], "params": differing, "note": note}


def _recipe(row: Row, runs: Mapping[str, Record]) -> dict[str, str]:
    """Return the params of a row's trained runs, else of any."""
    params_of_runs = [runs[run_id].params for cell in row.cells.values() for run_id in cell.run_ids]
    trained = [params for params in params_of_runs if Param.OPTIMIZER in params] or params_of_runs
    return {name: value for name, value in trained[0].items() if name != Param.SEED}
