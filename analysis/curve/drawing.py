"""Draw a curve as PNG or SVG. What is shown was computed before."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import PurePath

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from analysis.curve.series import Curve, Line, Point
from analysis.curve.wording import format_value, title_of
from analysis.narrative import is_share
from analysis.statistics import FEWEST_SEEDS, PowerLaw, fit_power_law
from tlft.evaluation.curve_plots import colour_of
from tlft.names import Metric

_WIDTH, _HEIGHT = 7.2, 4.4  # inches
_MARKERS = "osD^vP"
_GREY = "#5a5a5a"


def draw_curve(curve: Curve, kind: str) -> bytes:
    """Return the picture of a curve as a file of some kind, `png` or `svg`.

    Means with their 95 % intervals; the figure of each seed as a small dot; dashed what the setting says nothing to;
    dotted a power law, where one may be fitted.
    """
    figure = Figure(figsize=(_WIDTH, _HEIGHT), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    names = [point.x for line in curve.lines for point in line.points]
    places = _Places(curve, names)
    for number, line in enumerate(curve.lines):
        _draw_line(axes, curve, line, places, _MARKERS[number % len(_MARKERS)])
    for line in curve.constant:
        _draw_constant(axes, curve, line)
    places.set_ticks(axes)
    axes.set_xlabel(curve.label)
    figures = "accuracy" if curve.table.metric == Metric.ACCURACY else curve.table.metric
    axes.set_ylabel(f"{figures}{', %' if is_share(curve.table.metric) else ''}", parse_math=False)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    handles, _ = axes.get_legend_handles_labels()
    if any(isinstance(artist, Line2D) and artist.get_linestyle() == ":" for artist in axes.get_lines()):
        handles.append(Line2D([], [], color=_GREY, linestyle=":", linewidth=1.2, label="fitted power law"))
    axes.legend(handles=handles, frameon=False, fontsize=8.5)
    figure.text(0.99, 0.005, "bars and bands: 95 % intervals; small dots: seeds", ha="right", fontsize=7, color=_GREY)
    axes.set_title(textwrap.fill(curve.name, 90), fontsize=9.5, loc="left", parse_math=False)
    written = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {}
    figure.savefig(written, format=kind, metadata=metadata)
    return written.getvalue()


def numbered(name: str, number: int) -> str:
    """Return what the file of one of several curves is called: the first as the name says, the next with its number."""
    path = PurePath(name)
    return name if number == 1 else str(path.with_stem(f"{path.stem}-{number}"))


class _Places:
    """Where the values of a setting stand on the axis: numbers by themselves, names one after the other."""

    def __init__(self, curve: Curve, values: Sequence[float | str]) -> None:
        self._is_log = curve.is_amount and all(isinstance(value, float) and value > 0 for value in values)
        self._names = list(dict.fromkeys(values))
        self._is_number = self._is_log or all(isinstance(value, float) for value in values)

    def __call__(self, value: float | str) -> float:
        return value if self._is_number and isinstance(value, float) else float(self._names.index(value))

    def set_ticks(self, axes: Axes) -> None:
        """Give each value its tick."""
        if self._is_log:
            axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator([self(value) for value in self._names]))
        axes.xaxis.set_minor_locator(NullLocator())
        texts = {self(value): format_value(value) for value in self._names}
        axes.xaxis.set_major_formatter(FuncFormatter(lambda place, _: texts.get(place, "")))


def _draw_line(axes: Axes, curve: Curve, line: Line, places: _Places, marker: str) -> None:
    unit, colour = _unit(curve), colour_of(line.column)
    xs = [places(point.x) for point in line.points]
    means = [unit * point.cell.accuracy for point in line.points]
    axes.plot(
        xs, means, color=colour, marker=marker, markersize=5, linewidth=1.6, label=title_of(curve, line), zorder=3
    )
    runs = {run.run_id: run.metrics[curve.table.metric] for run in curve.table.runs}
    for x, point in zip(xs, line.points, strict=True):
        if len(point.cell.run_ids) > 1:
            values = [unit * runs[run_id] for run_id in point.cell.run_ids]
            axes.plot([x] * len(values), values, linestyle="", marker=".", markersize=3, color=colour, alpha=0.5)
        if (evidence := curve.evidence_of(point)) is not None:
            low, high = unit * evidence.interval.low, unit * evidence.interval.high
            axes.plot([x, x], [low, high], color=colour, linewidth=1.1, alpha=0.55, zorder=2)
    if (law := _fit(curve, line)) is not None:
        amounts = np.geomspace(min(xs), max(xs), 100)
        axes.plot(amounts, unit * law.accuracy(amounts), color=colour, linestyle=":", linewidth=1.2)


def _draw_constant(axes: Axes, curve: Curve, line: Line) -> None:
    unit, colour, point = _unit(curve), colour_of(line.column), line.points[0]
    axes.axhline(unit * point.cell.accuracy, color=colour, linestyle="--", linewidth=1.2, label=title_of(curve, line))
    if (evidence := curve.evidence_of(point)) is not None:
        axes.axhspan(unit * evidence.interval.low, unit * evidence.interval.high, color=colour, alpha=0.08, linewidth=0)


def _unit(curve: Curve) -> float:
    return 100.0 if is_share(curve.table.metric) else 1.0


def _fit(curve: Curve, line: Line) -> PowerLaw | None:
    """Return the power law of a line of amounts, where its seeds tell how far chance moves a mean."""
    if not curve.is_amount:
        return None
    runs = {run.run_id: run.metrics[curve.table.metric] for run in curve.table.runs}
    amounts, means, errors = [], [], []
    for point in line.points:
        values = [runs[run_id] for run_id in point.cell.run_ids]
        if not isinstance(point.x, float) or len(values) < FEWEST_SEEDS:
            return None
        amounts.append(point.x)
        means.append(point.cell.accuracy)
        errors.append(_error(values, _images(curve, point)))
    return fit_power_law(amounts, means, errors)


def _images(curve: Curve, point: Point) -> int:
    evidence = curve.evidence_of(point)
    return len(evidence.correctness.images) if evidence is not None else 100


def _error(values: Sequence[float], images: int) -> float:
    """Return the standard error of a mean over seeds; at least what one image more or less of one of them makes."""
    return float(max(np.std(values, ddof=1) / np.sqrt(len(values)), 1 / (images * len(values))))
