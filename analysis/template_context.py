"""What templates show of a table, on a page of its own and in a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from analysis.comparison_table import Table
from analysis.footnotes import footnotes
from analysis.narrative import data_sets, format_interval, head_row, is_share, percent, short_title
from analysis.render import format_cell
from analysis.rows import Cell, Row
from analysis.statistics import Interval
from analysis.svg_charts import Strip, column_class, draw_dots, ends_of
from tlft.config.columns import Column
from tlft.names import Metric

_MAX_CELLS_DRAWN = 60


def describe_table(table: Table, *, brief: bool = False) -> dict[str, Any]:
    """Return what `table.html.j2` shows, and the notes below it; see `footnotes` for `brief`."""
    columns = [column for column in table.columns if any(column.key in row.cells for row in table.rows)]
    return {
        "caption": table.metric + (", with 95 % intervals" if table.evidence is not None else ""),
        "columns": [describe_column(column) for column in columns],
        "rows": [_row(table, row, columns) for row in table.rows],
        "notes": footnotes(table, brief=brief),
    }


def describe_column(column: Column) -> dict[str, str]:
    """Return what a column is called, at length and in short, and the class that gives it its colour."""
    colour = column_class(column.key)
    return {"key": column.key, "title": column.title, "short": short_title(column), "colour": colour}


def _row(table: Table, row: Row, columns: Sequence[Column]) -> dict[str, Any]:
    cells = []
    for column in columns:
        interval = table.interval(row, column.key)
        figure = format_cell(row.cells.get(column.key), table.metric)
        text = None if interval is None else f"{format_interval(interval)} {_holds_for(interval, column)}"
        closed_set = _closed_set(table, row.cells.get(column.key))
        cells.append({"figure": figure, "interval": text, "closed": closed_set} if column.key in row.cells else None)
    return {"place": row.place, "recipe": row.recipe, "cells": cells}


def _holds_for(interval: Interval, column: Column) -> str:
    """Return what an interval holds for; a network that nobody has trained here is not called trained."""
    return interval.kind.replace("trained ", "") if column.key == "zero_shot" else interval.kind


def _closed_set(table: Table, cell: Cell | None) -> str:
    """Return the figure over the data's classes alone, where that is another."""
    if cell is None or table.metric != Metric.ACCURACY or cell.closed_set_accuracy in (None, cell.accuracy):
        return ""
    return f"closed-set {percent(cell.closed_set_accuracy, 3)} %"


def draw_runs(table: Table) -> dict[str, Any]:
    """Return pictures of every run as a dot, with the interval of its cell, and a note about them.

    The rows that the answers speak of come first.
    """
    percent = is_share(table.metric)
    unit = 100 if percent else 1
    figures = {run.run_id: unit * run.metrics[table.metric] for run in table.runs}
    label = "accuracy on the evaluation images" if table.metric == Metric.ACCURACY else table.metric
    label += ", %" if percent else ""
    strips: list[tuple[str, Strip]] = []
    heads = [head_row(table, data) for data in data_sets(table)]
    others = [row for row in table.rows if not row.published and row not in heads]
    rows = [*(row for row in heads if row is not None), *others]
    for row in rows:
        place = f"{row.place}, {row.recipe}" if len(rows) > 1 else ""
        for column in table.columns:
            if (cell := row.cells.get(column.key)) is None:
                continue
            interval = table.interval(row, column.key)
            ends = None if interval is None else (unit * interval.low, unit * interval.high)
            values = tuple(figures[run_id] for run_id in cell.run_ids)
            strips.append((place, Strip(short_title(column), column.key, values, ends)))
    drawn, left_out = strips[:_MAX_CELLS_DRAWN], strips[_MAX_CELLS_DRAWN:]
    ends = ends_of([strip for _, strip in drawn], percent=percent) if drawn else (0.0, 1.0)
    pictures = [
        {"place": place, "picture": draw_dots([strip for _, strip in lines], label, ends, percent=percent)}
        for place, lines in groupby(drawn, key=itemgetter(0))
    ]
    count = sum(len(strip.values) for _, strip in left_out)
    note = f"{count} runs of {len(left_out)} cells further down the table are not drawn." if left_out else ""
    if any(len(strip.values) > 1 for _, strip in drawn):
        note = f"Each dot is a run; equal ones lie above each other. {note}".strip()
    return {"dots": pictures, "dots_note": note}
