"""The comparison table: a row per data set, architecture and recipe, and a column per use of the network.

It is made of records and predictions alone: which runs a person asks for, and how a table looks, are not known here.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from analysis.evidence import CellEvidence, Evidence, gather_evidence
from analysis.predictions.correctness import Frames
from analysis.rows import Row, arch_of, build_rows
from analysis.statistics import Interval
from tlft.config.columns import RUNGS, THREE, Column, column_of, rung_of
from tlft.names import Metric, Param, Tag
from tlft.records.folds import join_folds
from tlft.records.record import Record

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
        """Return a line per row: `data`, `arch`, `recipe`, then the figures of each column, missing ones as NA.

        With evidence these are also the interval's `low` and `high`, and `images` and `groups`, of which it is.
        """
        import pandas as pd

        of_cells = {"accuracy": "Float64", "std": "Float64", "n": "Int64", "closed_set_accuracy": "Float64"}
        texts = {name: [getattr(row, name) for row in self.rows] for name in ("data", "arch", "recipe")}
        figures = {}
        for column in self.columns:
            cells = [row.cells.get(column.key) for row in self.rows]
            for name, kind in of_cells.items():
                figures[f"{column.key}_{name}"] = pd.Series([getattr(cell, name, None) for cell in cells], dtype=kind)
            if self.evidence is not None:
                evidence = [self.evidence_of(row, column.key) for row in self.rows]
                of_evidence: dict[str, tuple[str, Callable[[CellEvidence], float | None]]] = {
                    "low": ("Float64", lambda cell: cell.interval.low),
                    "high": ("Float64", lambda cell: cell.interval.high),
                    "images": ("Int64", lambda cell: len(cell.correctness.images)),
                    "groups": ("Int64", lambda cell: cell.correctness.group_count),
                }
                for name, (kind, value) in of_evidence.items():
                    values = [None if cell is None else value(cell) for cell in evidence]
                    figures[f"{column.key}_{name}"] = pd.Series(values, dtype=kind)
        return pd.DataFrame({**texts, **figures})


def build_table(
    records: Sequence[Record],
    *,
    metric: str = Metric.ACCURACY,
    data: Collection[str] | None = None,
    arch: Collection[str] | None = None,
    all_columns: bool = False,
    published: bool = False,
    command: str = "",
    of_folds: Frames | None = None,
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
        of_folds: predictions of runs of a fold, for a metric that `looks_at_classes`.
    """
    records = sorted(map(_of_whole, records), key=lambda record: (record.start_time, record.run_id))
    records, reasons = _find_exclusions(records, metric, of_folds)
    names = data_names(records)
    candidates = [
        record
        for record in records
        if (data is None or not names[record.run_id].isdisjoint(as_set(data)))
        and (arch is None or not arch_names(record).isdisjoint(as_set(arch)))
    ]
    tried = tuple(record for record in records if reasons[record.run_id] is None)
    runs, left_out = _select_runs(candidates, reasons, all_columns)
    return Table(
        metric=metric,
        columns=_order_columns({column for run in runs if (column := column_of(run.params)) is not None}),
        rows=build_rows(runs, metric, published=published, tried=tried),
        left_out=left_out,
        runs=runs,
        command=" ".join(command.splitlines()),
    )


def _order_columns(columns: set[Column]) -> tuple[Column, ...]:
    """Return the three columns, whether or not they are among `columns`, and then the others."""

    def rank(column: Column) -> tuple[int, int, str]:
        if (rung := rung_of(column.key)) is not None:
            return (*rung, column.key)
        name, _, number = column.key.partition("_")
        families = ("linear", "partial")
        place = families.index(name) if name in families else len(families)
        return (RUNGS + place, int(number) if number.isdecimal() else 0, column.key)

    return (*THREE, *sorted(columns - set(THREE), key=rank))


def _select_runs(
    records: Sequence[Record], reasons: Mapping[str, str | None], all_columns: bool
) -> tuple[tuple[Record, ...], dict[str, int]]:
    """Return the runs that are shown, in their order, and how many are not, by the first reason that applies."""
    left_out: Counter[str] = Counter()
    runs = []
    for record in records:
        reason = reasons[record.run_id]
        could_count = reason is None or reason.startswith(_WITHOUT)
        if could_count and not all_columns and column_of(record.params) not in THREE:
            reason = "other columns"
        if reason is None:
            runs.append(record)
        else:
            left_out[reason] += 1
    return tuple(runs), dict(sorted(left_out.items()))


def _find_exclusions(
    records: Sequence[Record], metric: str, of_folds: Frames | None
) -> tuple[list[Record], dict[str, str | None]]:
    """Return the records, folds joined, and run id -> why it does not count; None if it does.

    The oldest records come first. A run's name and tags say nothing here but that it was for debugging, and its fold.
    """
    reasons = {record.run_id: _disqualification(record) for record in records}
    newest = {record.key: record.run_id for record in records if reasons[record.run_id] is None}
    for record in records:
        if reasons[record.run_id] is None and newest[record.key] != record.run_id:
            reasons[record.run_id] = "superseded"
    counting = [record for record in records if reasons[record.run_id] is None]
    counting, incomplete = join_folds(counting, records, of_folds)
    reasons |= dict.fromkeys((record.run_id for record in incomplete), f"{_WITHOUT}its other folds")
    others = [record for record in records if reasons[record.run_id] is not None]
    reasons |= {record.run_id: _lack(record, metric) for record in counting}
    return sorted([*counting, *others], key=lambda record: (record.start_time, record.run_id)), reasons


def _of_whole(record: Record) -> Record:
    """Return a record as one of all evaluation images of its data set, where it left some classes out."""
    if (whole := record.tags.get(Tag.WHOLE)) is None:
        return record
    return replace(record, params=record.params | {Param.DATA_EVAL: whole})


def _lack(record: Record, metric: str) -> str | None:
    """Return that a run has no such figure, or None if it has."""
    if math.isfinite(record.metrics.get(metric, math.nan)):
        return None
    is_of_each = all(metric in part.metrics for part in record.parts or ())
    return f"{_WITHOUT}{metric}" + (" of all folds together" if record.parts and is_of_each else "")


_WITHOUT = "without "


def _disqualification(record: Record) -> str | None:
    """Return why a run cannot stand for its key, or None if it can."""
    if not record.key or column_of(record.params) is None:
        return "not a tlft run"
    if record.deleted:
        return "deleted"
    if record.tags.get(Tag.DEBUG) == "true":
        return "debug"
    if record.status != "FINISHED":
        return "failed" if record.status == "FAILED" else "unfinished"
    return None


def add_evidence(table: Table, frames: Frames, *, full: bool = False, grouping: str | None = None) -> Table:
    """Return the table with intervals and comparisons; one of another metric than the accuracy stays as it is.

    Args:
        table: whose runs `frames` are of.
        frames: run id -> its predictions (`tlft.tracking.reader.ArtifactReader.predictions`).
        full: say all that is known below the table, not only what concerns its fullest row.
        grouping: the expression that found the groups in `frames`, if it is not the runs' own `data.group`.
    """
    if table.metric != Metric.ACCURACY:
        return table
    return replace(table, evidence=gather_evidence(table.rows, table.runs, frames, grouping), full=full)


def as_set(names: Collection[str]) -> set[str]:
    """Return names as a set; one text is one name."""
    return {names} if isinstance(names, str) else set(names)


def data_names(records: Sequence[Record]) -> dict[str, set[str]]:
    """Return what each run's data set is called: by its own tag, or by that of any run with the same images."""
    digests = {record.run_id: record.params.get(Param.DATA_EVAL) or record.run_id for record in records}
    names: dict[str, set[str]] = {}
    for record in records:
        names.setdefault(digests[record.run_id], set()).add(record.tags.get(Tag.DATA, "unknown"))
    return {run_id: names[digest] for run_id, digest in digests.items()}


def arch_names(record: Record) -> set[str]:
    """Return what a run's architecture may be called: with or without the library's name and its prefixes."""
    library, name = arch_of(record.params)
    return {name, name.removeprefix("tf_"), f"{library}/{name}"}
