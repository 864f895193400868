"""What a table shows along one setting: its rows, or columns, that differ in nothing else, in the order of that.

Nothing is drawn or said here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import yaml

from analysis.comparison_table import Table
from analysis.evidence import CellEvidence
from analysis.recipes import describe_all
from analysis.rows import Cell, Row, name_digests
from tlft.config.columns import COLUMN_PARAMS
from tlft.errors import ConfigurationError
from tlft.names import Param, Tag, flatten, natural_order
from tlft.records.record import Record

TRAIN_FRACTION, TRAIN_PER_CLASS = "data.train_fraction", "data.train_per_class"

_DRAWN = (Param.DATA_TRAIN, Param.DATA_HOLDOUT, Param.LAST_BATCH)
_FOLLOWING: Mapping[str, tuple[str, ...]] = {
    TRAIN_FRACTION: _DRAWN,
    TRAIN_PER_CLASS: _DRAWN,
    Param.ARCH: (Param.ARCH_LIBRARY, Param.TRANSFORM, Param.WEIGHTS, Param.BN_MOMENTUM, Param.CLASS_MAP),
}
"""Params, or how their names begin, that another value of a setting changes by itself."""

_LACKING = (Param.WEIGHTS, Param.BN_MOMENTUM)
"""Params that some columns have not, so that a row of these alone is none of another recipe."""

_AMOUNTS = (TRAIN_FRACTION, TRAIN_PER_CLASS, Param.EPOCHS)
"""Settings of which more is more; drawn on a logarithmic axis."""

OFF = "off"
"""The value of a setting that a run does without."""

Value = float | str


@dataclass(frozen=True)
class Point:
    """A cell of the table, with the value of the setting there."""

    x: Value
    row: Row
    column: str

    @property
    def cell(self) -> Cell:
        """Of the table."""
        return self.row.cells[self.column]


@dataclass(frozen=True)
class Line:
    """One way to use a network along the setting; its column, or None where the setting is which column it is."""

    column: str | None
    title: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Curve:
    """One data set, and what its runs have in common beside the setting.

    Attributes:
        key: of the setting.
        label: of the axis.
        name: of the data set and of what is common.
        lines: one of them has two points at least.
        constant: columns to which the setting says nothing, of one point each.
        hidden: how many rows are not there, since a newer one has the same value.
    """

    table: Table
    key: str
    label: str
    name: str
    lines: tuple[Line, ...]
    constant: tuple[Line, ...]
    hidden: int = 0

    @property
    def is_amount(self) -> bool:
        """Whether more of the setting is more."""
        return self.key in _AMOUNTS

    def evidence_of(self, point: Point) -> CellEvidence | None:
        """Return what is known of a point beyond its mean."""
        return self.table.evidence_of(point.row, point.column)

    def line(self, column: str) -> Line | None:
        """Return the line of a column."""
        return next((line for line in self.lines if line.column == column), None)


def curves_along(table: Table, key: str, config_of: Callable[[Record], str]) -> list[Curve]:
    """Return a curve for each set of rows that differ in one setting alone.

    Args:
        table: with all columns and its evidence.
        key: dotted name of the setting.
        config_of: the configuration of a run as it was composed (YAML), for settings that are no params.

    Raises:
        ConfigurationError: if no run varies the setting.
    """
    if key in _COLUMNS:
        if curves := list(_along_columns(table, key)):
            return curves
        raise ConfigurationError(f"--x {key}: no row has three columns that differ in it; sweep over it")
    if curves := list(_along_rows(table, key, config_of)):
        return curves
    varied = ", ".join(sorted(_varied(table.runs)))
    raise ConfigurationError(f"--x {key}: no two runs differ in it alone; they differ in {varied or 'nothing'}")


def _varied(runs: Sequence[Record]) -> set[str]:
    """Return the settings that runs differ in and that make a curve."""
    values: dict[str, set[str | None]] = {name: set() for run in runs for name in run.params}
    for run in runs:
        if Param.OPTIMIZER in run.params:
            for name, its in values.items():
                its.add(run.params.get(name))
    several = {name for name, its in values.items() if len(its) > 1}
    hidden = {Param.SEED, *COLUMN_PARAMS, *_LACKING, *_DRAWN, Param.CLASS_MAP, Param.ARCH_LIBRARY, Param.DATA_EVAL}
    drawn = {TRAIN_FRACTION} if Param.DATA_TRAIN in several else set()
    return {name for name in several - hidden if not name.startswith(Param.TRANSFORM)} | drawn


def _trained_stages(column: str) -> tuple[float, str] | None:
    name, _, number = column.partition("_")
    if name == "partial" and number.isdecimal():
        return float(number), number
    return {"linear_probe": (0.0, "head"), "fine_tune": (math.inf, "all")}.get(column)


def _pretrained_stages(column: str) -> tuple[float, str] | None:
    name, _, number = column.partition("_")
    if name == "stages" and number.isdecimal():
        return float(number), number
    return {"from_scratch": (0.0, "none"), "fine_tune": (math.inf, "all")}.get(column)


_COLUMNS = {
    Param.TRAINABLE: (_trained_stages, "trained stages", "pretrained, new head"),
    Param.STAGES: (_pretrained_stages, "pretrained stages", "all stages trained"),
}
"""Settings that are columns of the table: the place and the name of a column among them, the axis, the line."""


def _along_columns(table: Table, key: str) -> Iterator[Curve]:
    place_of, label, title = _COLUMNS[key]
    for row in table.rows:
        placed = sorted((place, column) for column in row.cells if (place := place_of(column)) is not None)
        if len(placed) > 2 and not row.published:
            line = Line(None, title, tuple(Point(name, row, column) for (_, name), column in placed))
            on_line = {column for _, column in placed}
            beside = tuple(
                Line(column.key, column.title, (Point("", row, column.key),))
                for column in table.columns[:3]
                if column.key in row.cells and column.key not in on_line
            )
            yield Curve(table, key, label, f"{row.place}, {row.recipe}", (line,), beside)


def _along_rows(table: Table, key: str, config_of: Callable[[Record], str]) -> Iterator[Curve]:
    runs = {run.run_id: run for run in table.runs}
    trained = {index: _trained_run(row, runs) for index, row in enumerate(table.rows) if not row.published}
    groups: dict[tuple[str, str, frozenset[tuple[str, str]]], list[int]] = {}
    for index, run in trained.items():
        row = table.rows[index]
        siblings = [other for place, other in trained.items() if table.rows[place].place == row.place]
        lacking = {name for name in _LACKING if len({other.params.get(name) for other in siblings} - {None}) < 2}
        left = {name: text for name, text in run.params.items() if not (_follows(name, key) or name in lacking)}
        groups.setdefault((row.data, "" if key == Param.ARCH else row.arch, frozenset(left.items())), []).append(index)
    whole = [(place, group) for place, group in groups.items() if len(group) > 1]
    names = name_digests(table.runs)
    recipes = describe_all(
        [
            (data, arch, {name: names.get(name, {}).get(text, text) for name, text in params})
            for (data, arch, params), _ in whole
        ]
    )
    for ((data, arch, _), group), recipe in zip(whole, recipes, strict=True):
        values, label = _values({index: trained[index] for index in group}, key, config_of)
        if key == Param.ARCH:
            values = {index: table.rows[index].arch for index in group}
        newest = sorted(values, key=lambda index: table.rows[index].newest)
        rows = {values[index]: table.rows[index] for index in newest}
        ordered = sorted(rows.items(), key=lambda item: _place(item[0]))
        lines, constant = _lines(table, ordered)
        if any(len(line.points) > 1 for line in lines):
            name = ", ".join(filter(None, (data, arch, recipe)))
            yield Curve(table, key, label, name, lines, constant, len(values) - len(rows))


def _place(value: Value) -> tuple[float, tuple[object, ...]]:
    if value == OFF:
        return -math.inf, ()
    return (value, ()) if isinstance(value, float) else (math.inf, natural_order(value))


def _lines(table: Table, ordered: Sequence[tuple[Value, Row]]) -> tuple[tuple[Line, ...], tuple[Line, ...]]:
    """Return the lines of all columns, and those that are the same runs wherever they stand, of one point."""
    lines, constant = [], []
    for column in table.columns:
        points = [Point(value, row, column.key) for value, row in ordered if column.key in row.cells]
        if len(points) > 1 and len({point.cell.run_ids for point in points}) == 1:
            constant.append(Line(column.key, column.title, tuple(points[:1])))
        elif points:
            lines.append(Line(column.key, column.title, tuple(points)))
    return tuple(lines), tuple(constant)


def _follows(name: str, key: str) -> bool:
    return name in {key, Param.SEED, *COLUMN_PARAMS} or name.startswith(_FOLLOWING.get(key, ("\0",)))


def _trained_run(row: Row, runs: Mapping[str, Record]) -> Record:
    """Return the run of a row that says most of its recipe."""
    return max((runs[cell.run_ids[0]] for cell in row.cells.values()), key=lambda run: len(run.params))


def _values(
    trained: Mapping[int, Record], key: str, config_of: Callable[[Record], str]
) -> tuple[dict[int, Value], str]:
    """Return the value of the setting in each of the rows of a curve that has one, and what the axis is called."""
    if key in (TRAIN_FRACTION, TRAIN_PER_CLASS):
        counts = {index: run.tags.get(Tag.TRAINING_IMAGES, "") for index, run in trained.items()}
        if all(count.isdecimal() for count in counts.values()):
            return {index: float(count) for index, count in counts.items()}, "training images"
    texts = {index: _setting(run, key, config_of) for index, run in trained.items()}
    values = {index: _number(text) for index, text in texts.items() if text is not None}
    labels = {
        TRAIN_FRACTION: "of the training images (1: all)",
        TRAIN_PER_CLASS: "training images of each class",
        Param.EPOCHS: "epochs",
    }
    return values, labels.get(key, key)


def _setting(run: Record, key: str, config_of: Callable[[Record], str]) -> str | None:
    """Return the value of a setting as text; None if the run knows no such setting."""
    if key in run.params:
        return run.params[key]
    try:
        settings = flatten(yaml.safe_load(config_of((run.parts or (run,))[0])) or {})
    except (yaml.YAMLError, AttributeError):
        return None
    value = settings.get(key)
    if value == "null":
        return "1.0" if key == TRAIN_FRACTION else OFF
    return value


def _number(text: str) -> Value:
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text
