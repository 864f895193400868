"""What templates are told of a table, for a page of its own and for a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from analysis.columns import Column
from analysis.formats import format_cell
from analysis.pictures import Strip, column_class, draw_dots
from analysis.rows import Row
from analysis.words import SHORT, format_interval

if TYPE_CHECKING:
    from markupsafe import Markup

    from analysis.table import Table

_MOST_DOTS = 60


def used_columns(table: Table) -> list[Column]:
    """Return the columns that have a figure in some row."""
    return [column for column in table.columns if any(column.key in row.cells for row in table.rows)]


def describe_table(table: Table) -> dict[str, Any]:
    """Return what `table.html.j2` shows, and the notes below it."""
    columns = used_columns(table)
    return {
        "metric": table.metric,
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


def draw_runs(table: Table) -> Markup:
    """Return pictures of every run as a dot, with the interval of its cell."""
    accuracy = {run.run_id: run.metrics[table.metric] for run in table.runs}
    own = [row for row in table.rows if not row.published]
    strips = []
    for row in own:
        place = f"{row.data}, {row.arch}, {row.recipe}: " if len(own) > 1 else ""
        for column in used_columns(table):
            if (cell := row.cells.get(column.key)) is None:
                continue
            found = table.interval(row, column.key)
            interval = None if found is None else (found.low, found.high)
            values = tuple(accuracy[run_id] for run_id in cell.run_ids)
            strips.append(Strip(f"{place}{describe_column(column)['short']}", column.key, values, interval))
    pictures = [draw_dots(strips[start : start + 12]) for start in range(0, min(len(strips), _MOST_DOTS), 12)]
    from markupsafe import Markup

    return Markup("").join(pictures)
