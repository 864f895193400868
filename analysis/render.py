"""Write a table for a terminal, as Markdown, CSV, JSON or LaTeX.

No figure is computed here, only rounded; what is said below a table is in narrative.py.
"""

from __future__ import annotations

import json
import re
import shutil
import textwrap
from collections.abc import Collection, Sequence
from dataclasses import asdict
from io import StringIO
from itertools import groupby
from operator import attrgetter
from typing import Any

from analysis.comparison_table import Table
from analysis.footnotes import essentials, footnotes
from analysis.narrative import format_interval, is_share, rounded, short_title
from analysis.rows import Cell, Row
from analysis.statistics import Interval

FORMATS = ("terminal", "markdown", "csv", "json", "latex")

_RECIPE_WIDTH = 36
_CELL_WIDTH = 23  # 95.42 ± 0.65 % (n=3), and the gap
_NARROW_RECIPE_WIDTH = 25
_NARROW_CELL_WIDTH = 17  # with n on a line of its own


def render(
    table: Table, format: str, *, width: int | None = None, rows: Collection[Row] | None = None, brief: bool = False
) -> str:
    """Return the table as text, without a newline at its end.

    Args:
        table: what to write.
        format: one of `FORMATS`. CSV holds the figures alone, in full precision; all others say what was left out.
        width: columns of a terminal; those of this one, or 120 where there is none, if not given.
        rows: which of its rows are shown in Markdown; all, if not given.
        brief: whether a terminal is told the `essentials` alone, in place of every note.
    """
    if format == "terminal":
        notes = essentials(table) if brief else _notes(table)
        return _terminal(table, width or shutil.get_terminal_size((120, 24)).columns, notes)
    if format == "csv":
        return str(table.to_frame().to_csv(index=False, lineterminator="\n")).rstrip("\n")
    if format == "markdown":
        return _markdown(table, table.rows if rows is None else rows)
    return {"json": _json, "latex": _latex}[format](table)


def format_cell(cell: Cell | None, metric: str, separator: str = " ", interval: Interval | None = None) -> str:
    """Return `86.928 %`, `95.42 ± 0.65 % (n=3)`, or `-` where nothing was run; an interval stands behind a figure."""
    if cell is None:
        return "-"
    scale, unit = (100, " %") if is_share(metric) else (1, "")
    behind = "" if interval is None else f"{separator}{format_interval(interval)}"
    if cell.std is None:
        return rounded(scale * cell.accuracy, 3 if unit else 4) + unit + behind
    mean, std = (rounded(scale * figure, 2 if unit else 4) for figure in (cell.accuracy, cell.std))
    return f"{mean} ± {std}{unit}{separator}(n={cell.n}){behind}"


def _terminal(table: Table, width: int, notes: Sequence[str]) -> str:
    """Put data set and architecture above their recipes, so that three columns fit into 80 characters."""
    least = _NARROW_RECIPE_WIDTH + _NARROW_CELL_WIDTH * len(table.columns)
    lines = _stacked(table) if width < least else _grid(table, width)
    filled = [
        textwrap.fill(note, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
        for note in notes
    ]
    return "\n".join([*lines, "", *filled])


def _stacked(table: Table) -> list[str]:
    """Put the columns of a row below each other, where there is no room beside."""
    names = {column.key: short_title(column) for column in table.columns}
    longest = max(map(len, names.values()))
    lines: list[str] = []
    for place, rows in groupby(table.rows, key=attrgetter("place")):
        lines += ["", place] if lines else [place]
        for row in rows:
            lines.append(f"  {row.recipe}")
            figures = zip(table.columns, _figures(table, row), strict=True)
            lines += [f"    {names[column.key]:{longest}}  {figure}" for column, figure in figures if figure != "-"]
    return lines


def _grid(table: Table, width: int) -> list[str]:
    from rich import box
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table as RichTable
    from rich.text import Text

    in_one_line = table.evidence is None and width >= _RECIPE_WIDTH + _CELL_WIDTH * len(table.columns)
    separator = " " if in_one_line else "\n"
    grid = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    grid.add_column("\ndata set, architecture\n  recipe", min_width=_NARROW_RECIPE_WIDTH - 3)
    for column in table.columns:
        grid.add_column(column.title.replace(", ", ",\n"), min_width=_NARROW_CELL_WIDTH - 3)
    for place, rows in groupby(table.rows, key=attrgetter("place")):
        grid.add_section()
        grid.add_row(Text(place))
        for row in rows:
            grid.add_row(Padding(Text(row.recipe), (0, 0, 0, 2)), *map(Text, _figures(table, row, separator)))
    # A file of its own: neither colours nor the width of the real terminal, nor a notebook, get in.
    page = StringIO()
    console = Console(file=page, width=width, color_system=None, legacy_windows=False, force_jupyter=False)
    console.print(grid)
    return [line.rstrip() for line in page.getvalue().rstrip().splitlines()]


def _notes(table: Table) -> list[str]:
    return [*footnotes(table), *([f"Made by: {table.command}"] if table.command else [])]


def _markdown(table: Table, rows: Collection[Row]) -> str:
    def line(texts: list[str]) -> str:
        return f"| {' | '.join(texts)} |"

    lines = [
        line(["data set", "architecture", "recipe", *(column.title for column in table.columns)]),
        line(["---"] * 3 + [":---:"] * len(table.columns)),
        *(
            line([_markdown_text(text) for text in (row.data, row.arch, row.recipe, *_figures(table, row))])
            for row in table.rows
            if row in rows
        ),
        "",
        *(f"- {_markdown_text(note)}" for note in footnotes(table, rows)),
    ]
    if table.command:
        fence = "``" if "`" in table.command else "`"
        lines.append(f"- Made by: {fence}{table.command}{fence}")
    return "\n".join(lines)


def _markdown_text(text: str) -> str:
    text = re.sub(r"([\\|*`\[\]])", r"\\\1", text)
    return text.replace("<", "&lt;").replace(">", "&gt;")  # MLflow shows the backslash before these


def _figures(table: Table, row: Row, separator: str = " ") -> list[str]:
    return [
        format_cell(row.cells.get(column.key), table.metric, separator, table.interval(row, column.key))
        for column in table.columns
    ]


def _json(table: Table) -> str:
    def plain_cell(row: Row, key: str) -> dict[str, Any] | None:
        if key not in row.cells:
            return None
        cell = asdict(row.cells[key])
        if (evidence := table.evidence_of(row, key)) is None:
            return cell
        closed_set, new_seed = evidence.closed_set_interval, evidence.new_seed_interval
        return {
            **cell,
            "images": len(evidence.correctness.images),
            "groups": evidence.correctness.group_count,
            "interval": asdict(evidence.interval),
            "closed_set_interval": None if closed_set is None else asdict(closed_set),
            "new_seed_interval": None if new_seed is None else asdict(new_seed),
            "calibration_error": evidence.reliability.error,
            "calibration_error_by_chance": evidence.reliability.error_by_chance,
            "recalls": evidence.recalls,
        }

    rows = [
        {
            "data": row.data,
            "arch": row.arch,
            "recipe": row.recipe,
            "published": row.published,
            "cells": {column.key: plain_cell(row, column.key) for column in table.columns},
        }
        for row in table.rows
    ]
    comparisons = [
        {
            "row": table.rows.index(claim.row),
            "new": claim.new,
            "old": claim.old,
            "old_is_closed_set": claim.old in claim.closed_sides,
            "closed_set": claim.closed_set,
            "p_holm": claim.p,
            "family": claim.family,
            **asdict(claim.comparison),
            "unlike": claim.caveats,
            "smallest_difference": claim.smallest_difference,
        }
        for claim in (table.evidence.claims if table.evidence else ())
    ]
    whole = {
        "metric": table.metric,
        "columns": {column.key: column.title for column in table.columns},
        "rows": rows,
        "comparisons": comparisons,
        "left_out": table.left_out,
        "footnotes": footnotes(table),
        "command": table.command,
    }
    return json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False)


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "-": "-{}",  # two hyphens would become a dash
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def _latex_text(text: str) -> str:
    text = re.sub(r"-(?!-)", "\0", text)  # a lone hyphen, or the last of several, needs no care
    return "".join(_LATEX.get(character, character) for character in text).replace("\0", "-")


def _latex(table: Table) -> str:
    """Put data set and architecture above their recipes, so that three columns fit into the width of a page."""
    titles = [_latex_text(column.title).replace(", ", r",\\") for column in table.columns]
    heads = ["recipe", *(rf"\shortstack{{{title}}}" for title in titles)]
    notes = [rf"{_latex_text(note)}\par" for note in _notes(table)]
    return "\n".join(
        [
            r"% needs \usepackage{booktabs}",
            r"\begin{table}",
            r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
            rf"\begin{{tabular}}{{p{{0.22\linewidth}}{'c' * len(titles)}}}",
            r"\toprule",
            " & ".join(heads) + r" \\",
            r"\midrule",
            *_latex_rows(table),
            r"\bottomrule",
            r"\end{tabular}",
            r"\par\smallskip",
            r"{\footnotesize\raggedright",
            *notes,
            "}",
            r"\end{table}",
        ]
    )


def _latex_rows(table: Table) -> list[str]:
    lines: list[str] = []
    for place, rows in groupby(table.rows, key=attrgetter("place")):
        lines += [r"\addlinespace"] if lines else []
        lines.append(rf"\multicolumn{{{len(table.columns) + 1}}}{{l}}{{{_latex_text(place)}}} \\")
        for row in rows:
            # {} keeps what begins with a bracket from being taken for an option of the command before it.
            stacked = [r"\\{}".join(map(_latex_text, text.splitlines())) for text in _figures(table, row, "\n")]
            cells = [
                rf"\begin{{tabular}}[t]{{@{{}}c@{{}}}}{text}\end{{tabular}}" if r"\\" in text else text
                for text in stacked
            ]
            lines.append(" & ".join([f"{{}}{_latex_text(row.recipe)}", *cells]) + r" \\")
    return lines
