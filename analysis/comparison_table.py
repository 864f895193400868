"""The comparison table: a row per data set, architecture and recipe, and a column per use of the network.

It is made of records and predictions alone: which runs a person asks for, and how a table looks, are not known here.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from analysis.columns import order_columns, select_runs
from analysis.correctness import Frames
from analysis.evidence import CellEvidence, Evidence, gather_evidence
from analysis.rows import ACCURACY, Row, arch_of, build_rows
from analysis.statistics import Interval
from tlft.config.columns import Column, column_of
from tlft.tracking.records import Record

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class Table:
    """The comparison, and all that must be said of it.

    Attributes:
        metric: which figure the cells hold.
        columns: the three, then others if they were asked for.
        left_out: reason -> number of runs that are not in the table.
        runs: those that are, the oldest first.
        command: what makes this table again.
        evidence: intervals and comparisons, if they were asked for.
        full: whether all that is known of them is said below the table.
    """

    metric: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    left_out: dict[str, int]
    runs: tuple[Record, ...]
    command: str
    evidence: Evidence | None = None
    full: bool = False

    def evidence_of(self, row: Row, column: str) -> CellEvidence | None:
        """Return what is known of a cell beyond its mean, if it was asked for and its predictions could be read."""
        return self.evidence.cells[self.rows.index(row)].get(column) if self.evidence is not None else None

    def interval(self, row: Row, column: str) -> Interval | None:
        """Return the interval of a cell, if it is known."""
        evidence = self.evidence_of(row, column)
        return None if evidence is None else evidence.interval

    def to_frame(self) -> DataFrame:
        """Return a line per row: `data`, `arch`, `recipe`, then the figures of each column, missing ones as NA."""
        import pandas as pd

        kinds = {"accuracy": "Float64", "std": "Float64", "n": "Int64", "closed_set_accuracy": "Float64"}
        frame = pd.DataFrame({name: [getattr(row, name) for row in self.rows] for name in ("data", "arch", "recipe")})
        for column in self.columns:
            cells = [row.cells.get(column.key) for row in self.rows]
            for name, kind in kinds.items():
                figures = [None if cell is None else getattr(cell, name) for cell in cells]
                frame[f"{column.key}_{name}"] = pd.Series(figures, dtype=kind)
            if self.evidence is not None:
                intervals = [self.interval(row, column.key) for row in self.rows]
                for end in ("low", "high"):
                    ends = [None if interval is None else getattr(interval, end) for interval in intervals]
                    frame[f"{column.key}_{end}"] = pd.Series(ends, dtype="Float64")
        return frame


def build_table(
    records: Sequence[Record],
    *,
    metric: str = ACCURACY,
    data: Collection[str] | None = None,
    arch: Collection[str] | None = None,
    all_columns: bool = False,
    published: bool = False,
    command: str = "",
) -> Table:
    """Select runs, put them into rows, and count those that are left out.

    Args:
        records: runs of any kind, in any order.
        metric: the figure of a cell.
        data: names of data sets (those of `data_names`); None takes all.
        arch: names of architectures, with or without the library's name; None takes all.
        all_columns: add a column for every other use of the network that was run.
        published: add the published figures as a row.
        command: what makes this table again, for the footnote.
    """
    names = data_names(records)
    candidates = [
        record
        for record in records
        if (data is None or not names[record.run_id].isdisjoint(as_set(data)))
        and (arch is None or not arch_names(record).isdisjoint(as_set(arch)))
    ]
    selection = select_runs(candidates, metric, all_columns=all_columns)
    columns = {column for run in selection.runs if (column := column_of(run.params)) is not None}
    return Table(
        metric=metric,
        columns=order_columns(columns),
        rows=build_rows(selection.runs, metric, published=published),
        left_out=selection.left_out,
        runs=selection.runs,
        command=" ".join(command.splitlines()),
    )


def add_evidence(table: Table, frames: Frames, *, full: bool = False) -> Table:
    """Return the table with intervals and comparisons; one of another metric than the accuracy stays as it is.

    Args:
        table: whose runs `frames` are of.
        frames: run id -> its predictions (`tlft.tracking.ArtifactReader.predictions`).
        full: say all that is known below the table, not only what concerns its fullest row.
    """
    if table.metric != ACCURACY:
        return table
    return replace(table, evidence=gather_evidence(table.rows, table.runs, frames), full=full)


def as_set(names: Collection[str]) -> set[str]:
    """Return names as a set; one text is one name."""
    return {names} if isinstance(names, str) else set(names)


def data_names(records: Sequence[Record]) -> dict[str, set[str]]:
    """Return what each run's data set is called: by its own tag, or by that of any run with the same images."""
    digests = {record.run_id: record.params.get("data.eval") or record.run_id for record in records}
    names: dict[str, set[str]] = {}
    for record in records:
        names.setdefault(digests[record.run_id], set()).add(record.tags.get("data", "unknown"))
    return {run_id: names[digest] for run_id, digest in digests.items()}


def arch_names(record: Record) -> set[str]:
    """Return what a run's architecture may be called: with or without the library's name and its prefixes."""
    library, name = arch_of(record.params)
    return {name, name.removeprefix("tf_"), f"{library}/{name}"}
