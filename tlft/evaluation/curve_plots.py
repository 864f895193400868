"""Draw training curves as a picture: of one run, or of those of a sweep.

Nothing is computed or kept here.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from tlft.names import CURVES, Metric

_COLOURS = {"zero_shot": "#b34700", "fine_tune": "#005f99", "from_scratch": "#00755a", "linear_probe": "#93428a"}
_OTHER, _GREY = "#5a5a5a", "#6b6b6b"
_WIDTH, _HEIGHT = 9, 3.6  # inches
_IN_A_LINE = 4


@dataclass(frozen=True)
class History:
    """The curves of one run: metric -> (epoch, value); `column` gives it its colour, `title` names that."""

    column: str
    title: str
    points: Mapping[str, Sequence[tuple[int, float]]]


def draw_training(histories: Sequence[History], title: str) -> bytes | None:
    """Draw loss and accuracy by epoch, dashed on the evaluation images; return a PNG file, or None without a curve."""
    drawn = [history for history in histories if any(history.points.get(name) for name in CURVES)]
    if not drawn:
        return None
    figure, loss, accuracy = _sheet()
    heading = textwrap.fill(title, 110)
    above_all = figure.suptitle(heading, fontsize=11, parse_math=False, y=1 - 0.08 / _HEIGHT, va="top")
    is_evaluated = any(history.points.get(Metric.CURVE_ACCURACY) for history in drawn)
    images = "" if is_evaluated else " on the training images"
    _draw(loss, drawn, (Metric.TRAIN_LOSS, Metric.CURVE_LOSS), f"loss{images}", 1)
    _draw(accuracy, drawn, (Metric.TRAIN_ACCURACY, Metric.CURVE_ACCURACY), f"accuracy{images}, %", 100)
    lines = [Line2D([], [], color=colour_of(h.column), label=h.title) for h in {h.column: h for h in drawn}.values()]
    if is_evaluated:
        lines.append(Line2D([], [], color=_GREY, label="training images"))
        lines.append(Line2D([], [], color=_GREY, linestyle="--", label="evaluation images, for looking only"))
    legend = figure.legend(
        handles=lines, loc="lower center", ncols=min(len(lines), _IN_A_LINE), frameon=False, fontsize=9
    )
    # by hand: a layout that is found by drawing takes as long as the drawing
    above, below = 0.42 + 0.19 * (1 + heading.count("\n")), 0.56 + 0.19 * -(-len(lines) // _IN_A_LINE)
    figure.subplots_adjust(0.075, below / _HEIGHT, 0.985, 1 - above / _HEIGHT, wspace=0.16)
    file = io.BytesIO()
    figure.savefig(file, format="png", pil_kwargs={"compress_level": 3})
    for drawn_anew in (above_all, legend, *loss.lines, *accuracy.lines):
        drawn_anew.remove()
    return file.getvalue()


@cache
def _sheet() -> tuple[Figure, Axes, Axes]:
    """Return a figure with two axes without lines, for all pictures: to make it takes half the time of a picture."""
    figure = Figure(figsize=(_WIDTH, _HEIGHT), dpi=110)
    FigureCanvasAgg(figure)
    loss, accuracy = figure.subplots(1, 2)
    for axes in (loss, accuracy):
        axes.set_xlabel("epoch", color=_GREY)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(color="#d9d9d9", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, loss, accuracy


def colour_of(column: str) -> str:
    """Return the colour of a column in every picture."""
    return _COLOURS.get(column, _OTHER)


def _draw(axes: Axes, histories: Sequence[History], names: tuple[str, str], label: str, unit: float) -> None:
    for history in histories:
        for name, style in zip(names, ("-", "--"), strict=True):
            points = history.points.get(name, ())
            marker = "o" if len(points) == 1 else None
            epochs, values = [epoch for epoch, _ in points], [unit * value for _, value in points]
            axes.plot(
                epochs, values, style, color=colour_of(history.column), linewidth=1.2, marker=marker, markersize=4
            )
    axes.set_title(label, fontsize=10, loc="left", y=1)  # a place that is sought takes a fifth of the drawing
    axes.set(xlim=(0, 1), ylim=(0, 1))  # as of axes that nothing was drawn in before
    axes.relim()
    axes.autoscale()
