"""What templates are told of a table, for a page of its own and for a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from analysis.narrative import ACCURACY, SHORT, format_interval, is_share
from analysis.render import format_cell
from analysis.rows import Row
from analysis.svg_charts import Strip, column_class, draw_dots
from tlft.config.columns import Column

if TYPE_CHECKING:
    from analysis.table import Table

_MOST_DOTS = 60


def used_columns(table: Table) -> list[Column]:
    """Return the columns that have a figure in some row."""
    return [column for column in table.columns if any(column.key in row.cells for row in table.rows)]


def describe_table(table: Table) -> dict[str, Any]:
    """Return what `table.html.j2` shows, and the notes below it."""
    columns = used_columns(table)
    return {
        "caption": table.metric + (", with 95 % intervals" if table.evidence is not None else ""),
        "columns": [describe_column(column) for column in columns],
        "rows": [_row(table, row, columns) for row in table.rows],
        "notes": table.footnotes,
    }


def describe_column(column: Column) -> dict[str, str]:
    """Return what a column is called, at length and in short, and the class that gives it its colour."""
    short = SHORT.get(column.key, column.title.rpartition(", ")[2])
    return {"key": column.key, "title": column.title, "short": short, "colour": column_class(column.key)}


def _row(table: Table, row: Row, columns: Sequence[Column]) -> dict[str, Any]:
    cells = []
    for column in columns:
        interval = table.interval(row, column.key)
        figure = format_cell(row.cells.get(column.key), table.metric)
        shown = None if interval is None else f"{format_interval(interval)} {interval.kind}"
        cells.append({"figure": figure, "interval": shown} if column.key in row.cells else None)
    return {"place": f"{row.data}, {row.arch}", "recipe": row.recipe, "cells": cells}


def draw_runs(table: Table) -> dict[str, Any]:
    """Return pictures of every run as a dot, with the interval of its cell, and what is said of them."""
    percent = is_share(table.metric)
    unit = 100 if percent else 1
    figures = {run.run_id: unit * run.metrics[table.metric] for run in table.runs}
    label = "accuracy on the evaluation images" if table.metric == ACCURACY else table.metric
    label += ", %" if percent else ""
    strips: list[tuple[str, Strip]] = []
    own = [row for row in table.rows if not row.published]
    for row in own:
        place = f"{row.data}, {row.arch}, {row.recipe}" if len(own) > 1 else ""
        for column in used_columns(table):
            if (cell := row.cells.get(column.key)) is None:
                continue
            found = table.interval(row, column.key)
            interval = None if found is None else (unit * found.low, unit * found.high)
            values = tuple(figures[run_id] for run_id in cell.run_ids)
            strips.append((place, Strip(describe_column(column)["short"], column.key, values, interval)))
    shown, left = strips[:_MOST_DOTS], strips[_MOST_DOTS:]
    pictures = [
        {"place": place, "picture": draw_dots([strip for _, strip in lines], label, percent=percent)}
        for place, lines in groupby(shown, key=lambda one: one[0])
    ]
    count = sum(len(strip.values) for _, strip in left)
    said = f"{count} runs of {len(left)} cells further down the table are not drawn." if left else ""
    if any(len(strip.values) > 1 for _, strip in shown):
        said = f"Each dot is a run; equal ones lie above each other. {said}".strip()
    return {"dots": pictures, "dots_said": said}
