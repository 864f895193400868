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
from analysis.rows import Cell, Row
from tlft.config.columns import COLUMN_PARAMS, Column
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

AMOUNTS: Mapping[str, str] = {
    TRAIN_FRACTION: "training images",
    TRAIN_PER_CLASS: "training images",
    Param.EPOCHS: "epochs",
}
"""Settings of which more is more, with what there is more of; drawn on a logarithmic axis."""

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
    """One way to use a network along the setting; with a single point, if the setting says nothing to it."""

    column: str
    title: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Curve:
    """One data set, and what its runs have in common beside the setting.

    Attributes:
        key: of the setting.
        label: of the axis.
        lines: of two points or more each.
        constant: lines of one point.
    """

    table: Table
    key: str
    label: str
    name: str
    lines: tuple[Line, ...]
    constant: tuple[Line, ...]

    @property
    def is_amount(self) -> bool:
        """Whether the axis is a logarithmic one of numbers."""
        return self.key in AMOUNTS

    def evidence_of(self, point: Point) -> CellEvidence | None:
        """Return what is known of a point beyond its mean."""
        return self.table.evidence_of(point.row, point.column)

    def line(self, column: str) -> Line | None:
        """Return the line of a column that has several points."""
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
    curves = list(_along_columns(table, key)) if key in _ORDERS else list(_along_rows(table, key, config_of))
    if not curves:
        varied = ", ".join(sorted(_varied(table.runs)))
        raise ConfigurationError(f"--x {key}: no two runs differ in it alone; they differ in {varied or 'nothing'}")
    return curves


def _varied(runs: Sequence[Record]) -> set[str]:
    """Return the settings that runs differ in and that make a curve."""
    values: dict[str, set[str]] = {}
    for run in runs:
        for name, value in run.params.items():
            values.setdefault(name, set()).add(value)
    several = {name for name, its in values.items() if len(its) > 1}
    if not any(map(str.isdecimal, values.get(Param.TRAINABLE, ()))):  # the columns of every table differ in it
        several.discard(Param.TRAINABLE)
    hidden = {Param.SEED, Param.WEIGHTS, Param.CLASS_MAP, Param.MODEL, Param.HEAD, Param.ARCH_LIBRARY, *_DRAWN}
    drawn = {TRAIN_FRACTION} if Param.DATA_TRAIN in several else set()
    return {name for name in several - hidden if not name.startswith(Param.TRANSFORM)} | drawn


def _trained_order(column: str) -> tuple[float, str] | None:
    name, _, number = column.partition("_")
    if name == "partial" and number.isdecimal():
        return float(number), number
    return {"linear_probe": (0.0, "head"), "fine_tune": (math.inf, "all")}.get(column)


def _pretrained_order(column: str) -> tuple[float, str] | None:
    name, _, number = column.partition("_")
    if name == "stages" and number.isdecimal():
        return float(number), number
    return {"from_scratch": (0.0, "none"), "fine_tune": (math.inf, "all")}.get(column)


_ORDERS = {
    Param.TRAINABLE: (_trained_order, "stages that are trained, with the head", "pretrained, new head"),
    Param.STAGES: (_pretrained_order, "first stages that are pretrained", "all stages trained"),
}
"""Settings that are columns of the table: the place and the name of a column among them, the axis, the line."""


def _along_columns(table: Table, key: str) -> Iterator[Curve]:
    order, label, title = _ORDERS[key]
    for row in table.rows:
        placed = sorted((place, column) for column in row.cells if (place := order(column)) is not None)
        points = tuple(Point(name, row, column) for (_, name), column in placed)
        if len(points) > 2 and not row.published:
            name = f"{row.place}, {row.recipe}"
            yield Curve(table, key, label, name, (Line("fine_tune", title, points),), _constants(table, [row], placed))


def _constants(table: Table, rows: Sequence[Row], placed: Sequence[tuple[object, str]]) -> tuple[Line, ...]:
    """Return the three columns that are not on the line."""
    on_line = {column for _, column in placed}
    row = rows[0]
    return tuple(
        Line(column.key, column.title, (Point("", row, column.key),))
        for column in table.columns[:3]
        if column.key in row.cells and column.key not in on_line
    )


def _along_rows(table: Table, key: str, config_of: Callable[[Record], str]) -> Iterator[Curve]:
    runs = {run.run_id: run for run in table.runs}
    trained = {index: _trained_run(row, runs) for index, row in enumerate(table.rows) if not row.published}
    values, label = _values(trained, key, config_of)
    groups: dict[tuple[str, str, frozenset[tuple[str, str]]], dict[Value, Row]] = {}
    for index in sorted(values, key=lambda index: table.rows[index].newest):
        row = table.rows[index]
        siblings = [run for other, run in trained.items() if table.rows[other].place == row.place]
        lacking = {name for name in _LACKING if len({run.params.get(name) for run in siblings} - {None}) < 2}
        params = trained[index].params.items()
        left = {name: text for name, text in params if not (_follows(name, key) or name in lacking)}
        arch = "" if key == Param.ARCH else row.arch
        groups.setdefault((row.data, arch, frozenset(left.items())), {})[values[index]] = row
    whole = [(place, rows) for place, rows in groups.items() if len(rows) > 1]
    recipes = describe_all([(data, arch, dict(params)) for (data, arch, params), _ in whole])
    for ((data, arch, _), rows), recipe in zip(whole, recipes, strict=True):
        name = ", ".join(filter(None, (data, arch, recipe)))
        ordered = sorted(rows.items(), key=lambda item: _place(item[0]))
        lines = [_line(column, ordered) for column in table.columns]
        several = tuple(line for line in lines if len(line.points) > 1)
        single = tuple(line for line in lines if len(line.points) == 1)
        if several:
            yield Curve(table, key, label, name, several, single)


def _place(value: Value) -> tuple[float, tuple[object, ...]]:
    return (value, ()) if isinstance(value, float) else (math.inf, natural_order(value))


def _line(column: Column, ordered: Sequence[tuple[Value, Row]]) -> Line:
    """Return the cells of a column; of the same runs everywhere one."""
    points = [Point(value, row, column.key) for value, row in ordered if column.key in row.cells]
    if len({point.cell.run_ids for point in points}) == 1:
        points = points[:1]
    return Line(column.key, column.title, tuple(points))


def _follows(name: str, key: str) -> bool:
    settled = {key, Param.SEED, *COLUMN_PARAMS}
    return name in settled or name.startswith(_FOLLOWING.get(key, ("\0",)))


def _trained_run(row: Row, runs: Mapping[str, Record]) -> Record:
    """Return the run of a row that says most of its recipe."""
    return max((runs[cell.run_ids[0]] for cell in row.cells.values()), key=lambda run: len(run.params))


def _values(
    trained: Mapping[int, Record], key: str, config_of: Callable[[Record], str]
) -> tuple[dict[int, Value], str]:
    """Return the value of the setting in each row that has one, and what the axis is called."""
    if key in (TRAIN_FRACTION, TRAIN_PER_CLASS):
        counts = {index: run.tags.get(Tag.TRAINING_IMAGES, "") for index, run in trained.items() if _is_trained(run)}
        if all(count.isdecimal() for count in counts.values()):
            return {index: float(count) for index, count in counts.items()}, AMOUNTS[key]
    texts = {index: _setting(run, key, config_of) for index, run in trained.items()}
    values = {index: _number(text) for index, text in texts.items() if text is not None}
    return values, "share of the training images" if key == TRAIN_FRACTION else AMOUNTS.get(key, key)


def _is_trained(run: Record) -> bool:
    return Param.DATA_TRAIN in run.params


def _setting(run: Record, key: str, config_of: Callable[[Record], str]) -> str | None:
    """Return the value of a setting as text; None if the run does not have it, or it says nothing."""
    if key in run.params:
        return run.params[key]
    try:
        settings = flatten(yaml.safe_load(config_of((run.parts or (run,))[0])) or {})
    except (yaml.YAMLError, AttributeError):
        return None
    value = settings.get(key)
    return {"null": "1.0" if key == TRAIN_FRACTION else None}.get(value or "null", value)


def _number(text: str) -> Value:
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text
