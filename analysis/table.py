"""The three-column comparison table, regenerated from MLflow: `python -m analysis.table --help`.

Which run stands in which cell is decided in columns.py; nothing here reads MLflow itself.
"""

from __future__ import annotations

import argparse
import io
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.columns import PUBLISHED_COLUMNS, Cell, Row, column_of, label_rows, select, sort_into_rows, title_of
from tlft.errors import ConfigurationError, TlftError, nearest
from tlft.records import Record

FORMATS = ("terminal", "markdown", "csv", "json", "latex")
DEFAULT_METRIC = "eval/accuracy"
PUBLISHED = {"zero_shot": 133 / 153, "fine_tune": 146 / 153, "from_scratch": 105 / 153}
"""Accuracies on the 153 evaluation photographs of the reference task, one run each."""


@dataclass
class Table:
    """What the runs say, side by side.

    Attributes:
        columns: keys of the columns, in order.
        left_out: how many runs are not in the table, by reason.
        commits: of the code that computed the runs in it, shortened, `+` where it was changed.
    """

    rows: list[Row]
    columns: list[str]
    metric: str = DEFAULT_METRIC
    left_out: dict[str, int] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)
    command: str = ""

    def to_frame(self) -> pd.DataFrame:
        """Return a row per data set, architecture and recipe, with figures as numbers."""
        records = []
        for row in self.rows:
            record: dict[str, Any] = {"data": row.data, "arch": row.arch, "recipe": row.label}
            for column in self.columns:
                cell = row.cells.get(column)
                for name in ("accuracy", "std", "n", "closed_set_accuracy"):
                    record[f"{column}_{name}"] = getattr(cell, name) if cell else None
            records.append(record)
        return pd.DataFrame(records)

    def to_text(self) -> pd.DataFrame:
        """Return the same with titles for people, and a text in each cell."""
        rows = [
            [row.data, row.arch, row.label or "-", *(self._text(row.cells.get(column)) for column in self.columns)]
            for row in self.rows
        ]
        return pd.DataFrame(rows, columns=["data", "architecture", "recipe", *map(title_of, self.columns)])

    def _text(self, cell: Cell | None) -> str:
        if cell is None:
            return "-"
        if "loss" in self.metric or "seconds" in self.metric:
            spread = f" ± {cell.std:.3f} (n={cell.n})" if cell.std is not None else ""
            return f"{cell.accuracy:.4f}{spread}"
        if cell.std is None:
            return f"{100 * cell.accuracy:.3f} %"
        return f"{100 * cell.accuracy:.2f} ± {100 * cell.std:.2f} % (n={cell.n})"

    @property
    def footnotes(self) -> list[str]:
        """What a reader must know to believe the figures, a line each."""
        notes = []
        if self.metric != DEFAULT_METRIC:
            notes.append(f"Figures are {self.metric}.")
        closed = {
            f"{row.data}, {row.arch}": cell.closed_set_accuracy
            for row in self.rows
            if (cell := row.cells.get("zero_shot")) and cell.closed_set_accuracy is not None
        }
        for name, value in closed.items():
            notes.append(f"Untouched, closed-set (only the data's classes compete): {100 * value:.3f} % ({name}).")
        if any(cell.n > 1 for row in self.rows for cell in row.cells.values()):
            notes.append("± is the sample standard deviation over n seeds.")
        if self.left_out:
            listed = ", ".join(f"{count} {reason}" for reason, count in sorted(self.left_out.items()))
            notes.append(f"Left out: {listed}.")
        if self.commits:
            plus = " (+: with uncommitted changes)" if any(commit.endswith("+") for commit in self.commits) else ""
            notes.append(f"Commit{'s' if len(self.commits) > 1 else ''} {', '.join(self.commits)}{plus}.")
        if self.command:
            notes.append(f"Made by: {self.command}")
        return notes


def build_table(
    records: Sequence[Record],
    *,
    metric: str = DEFAULT_METRIC,
    data: str | None = None,
    arch: str | None = None,
    all_columns: bool = False,
    published: bool = False,
    command: str = "",
) -> Table:
    """Put runs side by side.

    Args:
        records: every run of an experiment.
        metric: what the cells show, such as `eval/accuracy` or `holdout/accuracy`.
        data: only this data set.
        arch: only this architecture.
        all_columns: not only the three published columns.
        published: add the published figures as a row.
        command: that made the table, for its footnote.
    """
    asked = [r for r in records if data in (None, r.tags.get("data")) and _is_arch(r, arch)]
    kept, left_out = select(asked, metric)
    present = {column_of(record.params) for record in kept}
    others = sorted(present - set(PUBLISHED_COLUMNS))
    if not all_columns:
        in_table = [record for record in kept if column_of(record.params) in PUBLISHED_COLUMNS]
        if len(kept) > len(in_table):
            left_out["of other columns (--columns all)"] = len(kept) - len(in_table)
        kept, others = in_table, []
    rows = sort_into_rows(kept, metric)
    label_rows(rows)
    if published:
        cells = {column: Cell(accuracy, None, 1, None) for column, accuracy in PUBLISHED.items()}
        rows.append(Row("hymenoptera", "resnet50", "", "", (), cells, "published"))
    rows.sort(key=lambda row: (row.data, row.arch, row.label))
    commits = {_commit(record) for record in kept} - {""}
    return Table(rows, [*PUBLISHED_COLUMNS, *others], metric, dict(left_out), sorted(commits), command)


def _is_arch(record: Record, arch: str | None) -> bool:
    name = record.params.get("arch.name", "")
    return arch in (None, name, name.removeprefix("tf_"))


def _commit(record: Record) -> str:
    return record.tags.get("commit", "")[:7] + ("+" if record.tags.get("dirty") == "true" else "")


def headline(table: Table) -> str:
    """Return the sentence that matters, from the row with the most cells and runs."""
    if not table.rows:
        return "No finished run yet."
    row = max(table.rows, key=lambda row: (len(row.cells), sum(cell.n for cell in row.cells.values())))
    words = {"fine_tune": "fine-tuned", "zero_shot": "untouched", "from_scratch": "from scratch"}
    parts = [
        f"{text} {100 * cell.accuracy:.1f} %" + (f" (n={cell.n})" if cell.n > 1 else "")
        for column, text in words.items()
        if (cell := row.cells.get(column))
    ]
    return f"On {row.data}, {row.arch}: {', '.join(parts) or 'no figure yet'}."


def render(table: Table, form: str, width: int = 120) -> str:
    """Write the table as text in one of `FORMATS`."""
    if form == "json":
        return json.dumps(_to_json(table), indent=1)
    if form == "csv":
        return table.to_frame().to_csv(index=False).rstrip("\n")
    if form == "latex":
        return _to_latex(table)
    return _to_markdown(table) if form == "markdown" else _to_terminal(table, width)


def _to_json(table: Table) -> dict[str, Any]:
    rows = []
    for row in table.rows:
        cells = {column: _cell_to_json(row.cells.get(column)) for column in table.columns}
        rows.append({"data": row.data, "arch": row.arch, "recipe": row.label, "cells": cells})
    footer = {"metric": table.metric, "commits": table.commits, "command": table.command}
    return {"rows": rows, "left_out": table.left_out, **footer}


def _cell_to_json(cell: Cell | None) -> dict[str, Any] | None:
    if cell is None:
        return None
    names = ("accuracy", "std", "n", "closed_set_accuracy")
    return {name: getattr(cell, name) for name in names} | {"run_ids": list(cell.run_ids)}


def _to_markdown(table: Table) -> str:
    frame = table.to_text()

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"

    rule = "|" + "|".join([":--"] * 3 + [":-:"] * len(table.columns)) + "|"
    lines = [line(list(frame.columns)), rule, *(line(list(row)) for row in frame.itertuples(index=False))]
    return "\n".join([*lines, "", *(f"- {note}" for note in table.footnotes)])


def _to_latex(table: Table) -> str:
    frame = table.to_text()
    text = frame.to_latex(index=False, escape=True, column_format="lll" + "c" * len(table.columns))
    notes = "".join(f"% {note}\n" for note in table.footnotes)
    return text.replace("±", r"$\pm$").rstrip("\n") + "\n" + notes.rstrip("\n")


def _to_terminal(table: Table, width: int) -> str:
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable

    frame = table.to_text()
    drawn = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, title in enumerate(frame.columns):
        figure = number >= 3
        drawn.add_column(title, justify="center" if figure else "left", no_wrap=False, min_width=16 if figure else None)
    for row in frame.itertuples(index=False):
        drawn.add_row(*(str(cell).replace("[", "\\[") for cell in row))
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(drawn)
    assert isinstance(console.file, io.StringIO)
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    lines = [line for line in lines if line]
    return "\n".join([*lines, "", *table.footnotes])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m analysis.table", description=__doc__.partition(":")[0] + ".")
    parser.add_argument("--experiment", default="tlft", help="MLflow experiment (default: tlft)")
    parser.add_argument("--uri", help="tracking store (default: mlflow.db in TLFT_HOME or the project folder)")
    parser.add_argument("--data", help="only this data set")
    parser.add_argument("--arch", help="only this architecture")
    parser.add_argument("--metric", default=DEFAULT_METRIC, help=f"what the cells show (default: {DEFAULT_METRIC})")
    parser.add_argument("--columns", choices=("published", "all"), default="published", help="three columns, or all")
    parser.add_argument("--format", choices=FORMATS, default="terminal")
    parser.add_argument("--published", action="store_true", help="add the published figures as a row")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write to a file")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table, and return the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    args = _parser().parse_args(arguments)
    try:
        text = _make(args, shlex.join(["python", "-m", "analysis.table", *arguments]))
        if args.out is None:
            print(text)
        else:
            from tlft.download import atomic_write

            atomic_write(args.out, f"{text}\n".encode())
            print(f"written: {args.out}", file=sys.stderr)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2
    except TlftError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    return 0


def _make(args: argparse.Namespace, command: str) -> str:
    from tlft.tracking import load_records

    records = load_records(args.experiment, args.uri)
    if not records:
        raise ConfigurationError(
            f"--experiment {args.experiment}: has no runs yet; make some: python run.py sweep=comparison, or make demo"
        )
    _check_names(args, records)
    table = build_table(
        records,
        metric=args.metric,
        data=args.data,
        arch=args.arch,
        all_columns=args.columns == "all",
        published=args.published,
        command=command,
    )
    from shutil import get_terminal_size

    return render(table, args.format, width=max(get_terminal_size((120, 24)).columns, 72))


def _check_names(args: argparse.Namespace, records: Sequence[Record]) -> None:
    """Refuse names that no run has.

    Raises:
        ConfigurationError: with the nearest known name for each.
    """
    archs = {record.params.get("arch.name", "") for record in records}
    known = {
        "metric": {metric for record in records for metric in record.metrics},
        "data": {record.tags.get("data", "") for record in records} - {""},
        "arch": {name for arch in archs for name in (arch, arch.removeprefix("tf_"))} - {""},
    }
    problems = [
        f"--{name} {value}: no run has it{nearest(value, names)} (there are {', '.join(sorted(names)[:12])})"
        for name, names in known.items()
        if (value := getattr(args, name)) is not None and value not in names
    ]
    if problems and any(record.status == "FINISHED" for record in records):
        raise ConfigurationError(problems)


if __name__ == "__main__":
    sys.exit(main())
