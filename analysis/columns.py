"""Which runs count in a comparison, and in which order its columns stand.

A run's name and tags say nothing here but that it was for debugging; no figure is computed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tlft.config.columns import THREE, Column, column_of
from tlft.tracking.records import Record


def order_columns(columns: set[Column]) -> tuple[Column, ...]:
    """Return the three columns, whether or not they are among `columns`, and then the others."""

    def rank(column: Column) -> tuple[int, int, str]:
        name, _, number = column.key.partition("_")
        families = ("linear", "partial")
        return (families.index(name) if name in families else 2, int(number) if number.isdecimal() else 0, column.key)

    return (*THREE, *sorted(columns - set(THREE), key=rank))


@dataclass(frozen=True)
class Selection:
    """The runs that a table is made of.

    Attributes:
        runs: the oldest first; each has a column, and a finite value of the metric.
        left_out: reason -> how many others there were, for the whole truth about what was run.
    """

    runs: tuple[Record, ...]
    left_out: dict[str, int]


def select_runs(records: Sequence[Record], metric: str, *, all_columns: bool = False) -> Selection:
    """Choose the runs that count, and count those that do not by the first reason that applies."""
    records = sorted(records, key=lambda record: (record.start_time, record.run_id))
    newest = {record.key: record for record in records if _disqualification(record) is None}
    reasons = [(record, _exclusion(record, newest, metric, all_columns)) for record in records]
    counts = Counter(reason for _, reason in reasons if reason is not None)
    return Selection(tuple(record for record, reason in reasons if reason is None), dict(sorted(counts.items())))


def _disqualification(record: Record) -> str | None:
    """Return why a run cannot stand for its key, or None if it can."""
    if not record.key or column_of(record.params) is None:
        return "not a tlft run"
    if record.deleted:
        return "deleted"
    if record.tags.get("debug") == "true":
        return "debug"
    if record.status != "FINISHED":
        return "failed" if record.status == "FAILED" else "unfinished"
    return None


def _exclusion(record: Record, newest: Mapping[str, Record], metric: str, all_columns: bool) -> str | None:
    """Return why a run is left out, or None if it is not."""
    if reason := _disqualification(record):
        return reason
    if newest[record.key] is not record:
        return "superseded"
    if not all_columns and column_of(record.params) not in THREE:
        return "other columns"
    if not math.isfinite(record.metrics.get(metric, math.nan)):
        return f"without {metric}"
    return None
