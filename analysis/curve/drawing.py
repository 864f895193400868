"""Draw a curve as PNG or SVG. What is shown was computed before."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import PurePath

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from analysis.curve.series import Curve, Line, Value
from analysis.curve.wording import format_value, title_of
from analysis.narrative import is_share
from analysis.statistics import FEWEST_SEEDS, PowerLaw, fit_power_law
from tlft.evaluation.curve_plots import colour_of
from tlft.names import Metric

_WIDTH, _HEIGHT = 7.2, 4.4  # inches
_MARKERS = "osD^vP"
_GREY = "#5a5a5a"
_OTHERS = (_GREY, "#8c6d00", "#3f3f9e", "#a0522d", "#2f6f6f")
_WIDE = 20.0  # times the least value the greatest, from which on an axis of numbers is logarithmic
_LETTERS = 80  # of all ticks, which stand beside each other


def draw_curve(curve: Curve, kind: str) -> bytes:
    """Return the picture of a curve as a file of some kind, `png` or `svg`.

    Means with their 95 % intervals; the figure of each seed as a small dot; dashed what the setting says nothing to;
    dotted a power law, where one may be fitted.
    """
    figure = Figure(figsize=(_WIDTH, _HEIGHT), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    places = _Places(curve)
    for number, line in enumerate(curve.lines):
        _draw_line(axes, curve, line, places, number)
    for line in curve.constant:
        _draw_constant(axes, curve, line)
    places.set_ticks(axes)
    axes.set_xlabel(textwrap.shorten(curve.label, 80), parse_math=False)
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
    with rc_context({"svg.hashsalt": "tlft"}):  # so that the same picture is the same file
        figure.savefig(written, format=kind, metadata={"Date": None} if kind == "svg" else {})
    return written.getvalue()


def numbered(name: str, number: int) -> str:
    """Return what the file of one of several curves is called: the first as the name says, the next with its number."""
    path = PurePath(name)
    return name if number == 1 else str(path.with_stem(f"{path.stem}-{number}"))


class _Places:
    """Where the values of a setting stand on the axis: numbers by themselves, names one after the other."""

    def __init__(self, curve: Curve) -> None:
        values = dict.fromkeys(point.x for line in curve.lines for point in line.points)
        numbers = [value for value in values if isinstance(value, float)]
        self._names: list[Value] = [*sorted(numbers)] if len(numbers) == len(values) else [*values]
        self.are_ordered = len(numbers) == len(values)
        is_wide = self.are_ordered and min(numbers) > 0 and max(numbers) >= _WIDE * min(numbers)
        self._is_log = self.are_ordered and min(numbers) > 0 and (curve.is_amount or is_wide)

    def __call__(self, value: Value) -> float:
        return value if self.are_ordered and isinstance(value, float) else float(self._names.index(value))

    def set_ticks(self, axes: Axes) -> None:
        """Give each value its tick."""
        if self._is_log:
            axes.set_xscale("log")
        texts = [textwrap.shorten(format_value(value), 24, placeholder="...") for value in self._names]
        is_crowded = sum(map(len, texts)) > _LETTERS
        axes.set_xticks([self(value) for value in self._names], labels=texts, parse_math=False)
        for text in axes.get_xticklabels() if is_crowded else ():
            text.set(rotation=40, ha="right", rotation_mode="anchor", fontsize=8)
        axes.xaxis.set_minor_locator(NullLocator())


def _draw_line(axes: Axes, curve: Curve, line: Line, places: _Places, number: int) -> None:
    unit, colour, marker = _unit(curve), _colour(line, number), _MARKERS[number % len(_MARKERS)]
    xs = [places(point.x) for point in line.points]
    means = [unit * point.cell.accuracy for point in line.points]
    style = "-" if places.are_ordered or line.column is None else ""  # names of networks, say, are in no order
    label = title_of(curve, line)
    axes.plot(xs, means, style, color=colour, marker=marker, markersize=5, linewidth=1.6, label=label, zorder=3)
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
    unit, colour, point = _unit(curve), _colour(line, 0), line.points[0]
    axes.axhline(unit * point.cell.accuracy, color=colour, linestyle="--", linewidth=1.2, label=title_of(curve, line))
    if (evidence := curve.evidence_of(point)) is not None:
        axes.axhspan(unit * evidence.interval.low, unit * evidence.interval.high, color=colour, alpha=0.08, linewidth=0)


def _colour(line: Line, number: int) -> str:
    """Return the colour that a column has in every picture; one of a few for others."""
    colour = colour_of(line.column or "fine_tune")
    return colour if colour != colour_of("") else _OTHERS[number % len(_OTHERS)]


def _unit(curve: Curve) -> float:
    return 100.0 if is_share(curve.table.metric) else 1.0


def _fit(curve: Curve, line: Line) -> PowerLaw | None:
    """Return the power law of a line of amounts, where its seeds tell how far chance moves a mean."""
    if not (curve.is_amount and is_share(curve.table.metric)):
        return None
    runs = {run.run_id: run.metrics[curve.table.metric] for run in curve.table.runs}
    amounts, means, errors = [], [], []
    for point in line.points:
        values, evidence = [runs[run_id] for run_id in point.cell.run_ids], curve.evidence_of(point)
        if not isinstance(point.x, float) or len(values) < FEWEST_SEEDS or evidence is None:
            return None
        amounts.append(point.x)
        means.append(point.cell.accuracy)
        errors.append(_error(values, len(evidence.correctness.images)))
    return fit_power_law(amounts, means, errors)


def _error(values: Sequence[float], images: int) -> float:
    """Return the standard error of a mean over seeds; at least what one image more or less of one of them makes."""
    return float(max(np.std(values, ddof=1) / np.sqrt(len(values)), 1 / (images * len(values))))
