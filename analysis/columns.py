"""Which column of the comparison a run stands in, by what it was, and which runs count at all.

A run's name and tags say nothing here but that it was for debugging; no figure is computed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tlft.tracking.records import Record


@dataclass(frozen=True)
class Column:
    """One way to use a network: where its weights are from, which head it has, what is trained.

    Attributes:
        key: its name in JSON and CSV.
        title: three phrases, separated by commas.
    """

    key: str
    title: str


THREE = (
    Column("zero_shot", "pretrained, 1000-class head, no fine-tuning"),
    Column("fine_tune", "pretrained, new head, fine-tuned"),
    Column("from_scratch", "from scratch, new head, trained"),
)

COLUMN_PARAMS = ("model.name", "head.name", "training.trainable")
"""The params that make a column, in the order of a title."""

_KEYS = {
    ("pretrained", "imagenet1k", "none"): "zero_shot",
    ("pretrained", "task", "all"): "fine_tune",
    ("scratch", "task", "all"): "from_scratch",
    ("pretrained", "task", "head"): "linear_probe",
}


def column_of(params: Mapping[str, str]) -> Column | None:
    """Return the column of a run with these params, or None if they do not say enough."""
    parts = tuple(params.get(name, "") for name in COLUMN_PARAMS)
    if not all(parts):
        return None
    model, head, trainable = parts
    key = _KEYS.get((model, head, trainable))
    if key is None:
        in_part = (model, head) == ("pretrained", "task") and trainable.isdecimal()
        key = f"partial_{trainable}" if in_part else "_".join(parts)
    weights = {"scratch": "from scratch"}.get(model, model)
    outputs = {"imagenet1k": "1000-class head", "task": "new head"}.get(head, head)
    return Column(key, f"{weights}, {outputs}, {_training(model, trainable)}")


def _training(model: str, trainable: str) -> str:
    if trainable == "all":
        return "trained" if model == "scratch" else "fine-tuned"
    if trainable == "none":
        return "not trained" if model == "scratch" else "no fine-tuning"
    if trainable == "head":
        return "only the head trained"
    return "last stage trained" if trainable == "1" else f"last {trainable} stages trained"


def order_columns(columns: set[Column]) -> tuple[Column, ...]:
    """Return the three columns, whether or not they are among `columns`, and then the others."""

    def rank(column: Column) -> tuple[int, int, str]:
        name, _, number = column.key.partition("_")
        known = ("linear", "partial")
        return (known.index(name) if name in known else 2, int(number) if number.isdecimal() else 0, column.key)

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
    newest: dict[str, Record] = {}
    for record in sorted(records, key=_age):
        if _state(record) is None:
            newest[record.key] = record
    reasons = [(record, _why_not(record, newest, metric, all_columns)) for record in sorted(records, key=_age)]
    counts = Counter(reason for _, reason in reasons if reason is not None)
    return Selection(tuple(record for record, reason in reasons if reason is None), dict(sorted(counts.items())))


def _age(record: Record) -> tuple[int, str]:
    return record.start_time, record.run_id


def _state(record: Record) -> str | None:
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


def _why_not(record: Record, newest: Mapping[str, Record], metric: str, all_columns: bool) -> str | None:
    if state := _state(record):
        return state
    if newest[record.key] is not record:
        return "superseded"
    if not all_columns and column_of(record.params) not in THREE:
        return "other columns"
    if not math.isfinite(record.metrics.get(metric, math.nan)):
        return f"without {metric}"
    return None
