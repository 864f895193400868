"""Draw the report's vector pictures: dots with intervals, curves, confusion matrices, reliability.

Shapes carry classes in place of colours, so that one style sheet serves light, dark and print. Every picture is drawn
340 units wide, which a phone shows at full size. What is shown was computed before.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter

from markupsafe import Markup

from analysis.statistics import Reliability

WIDTH = 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 10, 34


def _tag(name: str, content: object = "", **attributes: object) -> Markup:
    """Return an element; texts are escaped, and `class_` and `stroke_width` are spelled as SVG spells them."""
    listed = Markup("")
    for key, value in attributes.items():
        text = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value
        listed += Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), text)
    return Markup("<{name}{listed}>{content}</{name}>").format(name=Markup(name), listed=listed, content=content)


def _picture(title: str, height: float, parts: Sequence[Markup], width: int = WIDTH, **attributes: str) -> Markup:
    return _tag(
        "svg",
        _tag("title", title) + Markup("").join(parts),
        viewBox=f"0 0 {width} {height:.0f}",
        role="img",
        aria_label=title,
        xmlns="http://www.w3.org/2000/svg",
        **attributes,
    )


@dataclass(frozen=True)
class _Scale:
    """Map values to places along one axis; where only whole numbers have a meaning, only those have ticks."""

    low: float
    high: float
    start: float
    end: float
    whole: bool = False

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, most: int = 5) -> Iterator[float]:
        """Yield round values, at most `most` + 1 of them."""
        rough = (self.high - self.low) / most
        rough = max(rough, 1.0) if self.whole else rough
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
        value = math.ceil(self.low / step - 1e-9) * step
        while value <= self.high + step * 1e-9:
            yield value
            value += step


def _axis(scale: _Scale, bottom: float, top: float, label: str, unit: float = 1.0) -> list[Markup]:
    """Return a horizontal axis with its grid."""
    parts = []
    for value in scale.ticks():
        x = scale(value)
        parts.append(_tag("line", x1=x, x2=x, y1=top, y2=bottom, class_="grid"))
        parts.append(_tag("text", f"{unit * value:g}", x=x, y=bottom + 14, text_anchor="middle"))
    middle = (scale.start + scale.end) / 2
    return [*parts, _tag("text", label, x=middle, y=bottom + 29, text_anchor="middle", class_="label")]


def _side(scale: _Scale, left: float, right: float, unit: float = 1.0) -> list[Markup]:
    """Return a vertical axis with its grid."""
    parts = []
    for value in scale.ticks():
        y = scale(value)
        parts.append(_tag("line", x1=left, x2=right, y1=y, y2=y, class_="grid"))
        parts.append(_tag("text", f"{unit * value:g}", x=left - 5, y=y + 4, text_anchor="end"))
    return parts


@dataclass(frozen=True)
class Strip:
    """One line of the dots picture: the runs of a cell, and its interval.

    Attributes:
        values: figure of each run, in the unit of the axis, as are both ends of the interval.
    """

    label: str
    column: str
    values: tuple[float, ...]
    interval: tuple[float, float] | None


def ends_of(strips: Sequence[Strip], *, percent: bool) -> tuple[float, float]:
    """Return where an axis for some strips begins and ends; no percentage is above 100."""
    values = [value for strip in strips for value in (*strip.values, *(strip.interval or ()))]
    low, high = min(values), max(values)
    if percent:
        return (min(max(0.0, math.floor(low / 5) * 5), 95.0), 100.0)
    pad = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
    return low - pad, high + pad


def draw_dots(strips: Sequence[Strip], label: str, ends: tuple[float, float], *, percent: bool) -> Markup:
    """Draw every run as a dot on the line of its cell, with the cell's interval, on an axis between two ends."""
    step = 46
    height = _TOP + step * len(strips) + _BOTTOM
    scale = _Scale(*ends, 12, WIDTH - 14)
    parts = _axis(scale, height - _BOTTOM, _TOP, label)
    for index, strip in enumerate(strips):
        y = _TOP + step * index + 30
        parts.append(_tag("text", _cut(strip.label, WIDTH - 16), x=12, y=y - 15, class_="name"))
        if strip.interval is not None:
            a, b = (scale(end) for end in strip.interval)
            parts.append(_tag("line", x1=a, x2=b, y1=y, y2=y, class_=f"bar {column_class(strip.column)}"))
        figures = ", ".join(f"{value:.1f} %" if percent else f"{value:.4g}" for value in strip.values)
        dots = [
            _tag("circle", cx=x, cy=y - rise, r=4, class_=f"dot {column_class(strip.column)}")
            for x, rise in _side_by_side([scale(value) for value in strip.values])
        ]
        parts.append(_tag("g", _tag("title", f"{strip.label}: {figures}") + Markup("").join(dots)))
    return _picture(f"{label}: every run, with the interval of its cell", height, parts)


def _side_by_side(places: Sequence[float]) -> list[tuple[float, float]]:
    """Return dots with how far each rises above or below its line, so that none lies upon another."""
    dots: list[tuple[float, float]] = []
    for x in sorted(places):
        neighbours = {rise for neighbour, rise in dots if abs(neighbour - x) < _DOT}
        dots.append((x, next((rise for rise in _RISES if rise not in neighbours), _RISES[-1])))
    return dots


_DOT = 8.0
_RISES = (0.0, 5.0, -5.0, 10.0, -10.0)


@dataclass(frozen=True)
class Curve:
    """One run's figures by epoch: (epoch, value) pairs."""

    column: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Frame:
    """The range of epochs and of values, unscaled, that neighbouring pictures of curves share."""

    epochs: tuple[float, float]
    values: tuple[float, float]

    @classmethod
    def around(cls, curves: Sequence[Curve]) -> Frame:
        """Return what some curves, one of which has points, need."""
        epochs = [epoch for curve in curves for epoch, _ in curve.points]
        values = [value for curve in curves for _, value in curve.points]
        alone = 0.5 if min(epochs) == max(epochs) else 0.0
        pad = (max(values) - min(values)) * 0.05 or 0.05
        return cls((min(epochs) - alone, max(epochs) + alone), (max(min(values) - pad, 0.0), max(values) + pad))


def draw_curves(
    title: str, curves: Sequence[Curve], frame: Frame, names: Mapping[str, str], unit: float = 1.0
) -> Markup:
    """Draw each run as a thin line by epoch, with the name of its column, whole, behind its end."""
    height = 220
    drawn = [curve for curve in curves if curve.points]
    labels = {curve.column: textwrap.wrap(names[curve.column], _NAME_LETTERS) for curve in drawn}
    longest = max(len(line) for lines in labels.values() for line in lines)
    right = WIDTH - max(60, longest * _LETTER + 10)
    across = _Scale(*frame.epochs, _LEFT, right, whole=True)
    up = _Scale(*frame.values, height - _BOTTOM, _TOP)
    parts = [*_axis(across, height - _BOTTOM, _TOP, "epoch"), *_side(up, _LEFT, right, unit)]
    for column, y in _ends_of_columns(drawn, labels, up, height - _BOTTOM):
        lines = [
            _tag("tspan", line, x=right + 5, y=y + 4 + _NAME_LINE * index) for index, line in enumerate(labels[column])
        ]
        parts.append(_tag("text", Markup("").join(lines), class_=f"direct {column_class(column)}"))
    for curve in drawn:
        points = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in curve.points)
        parts.append(_tag("polyline", points=points, class_=f"thin {column_class(curve.column)}"))
        if len(curve.points) == 1:
            (x, y), *_ = curve.points
            parts.append(_tag("circle", cx=across(x), cy=up(y), r=3, class_=f"dot {column_class(curve.column)}"))
    return _picture(title, height, parts)


_NAME_LETTERS, _NAME_LINE = 16, 13  # of a line of a column's name at the end of a curve


def _ends_of_columns(
    curves: Sequence[Curve], labels: Mapping[str, Sequence[str]], up: _Scale, bottom: float
) -> list[tuple[str, float]]:
    """Return the height at which each column's curves end on average, moved apart so that names can stand there."""
    ends: dict[str, list[float]] = {}
    for curve in curves:
        ends.setdefault(curve.column, []).append(up(curve.points[-1][1]))
    means = {column: sum(heights) / len(heights) for column, heights in ends.items()}
    placed: list[tuple[str, float]] = []
    free = 0.0
    for column, y in sorted(means.items(), key=itemgetter(1)):
        placed.append((column, max(y, free)))
        free = placed[-1][1] + _NAME_LINE * len(labels[column]) + 1
    over = max(free - _NAME_LINE - bottom, 0.0)
    return [(column, y - over) for column, y in placed]


def draw_confusion(
    title: str, names: Sequence[str], columns: Sequence[str], shares: Sequence[Sequence[float]]
) -> Markup:
    """Draw a confusion matrix of shares of each true class, 0..1, of shape (names, columns)."""
    left = 92
    size = min((WIDTH - left - _RIGHT) / len(columns), 46)
    upright = all(len(name) * _LETTER <= size for name in columns)
    top = 34 if upright else 92
    height = top + size * len(names) + 24
    small = " small" if size < 13 else ""
    parts = [_tag("text", "predicted", x=left, y=12, class_="label"), _tag("text", "true", x=4, y=26, class_="label")]
    for index, name in enumerate(columns):
        x = left + size * (index + 0.5)
        at: dict[str, object] = {"x": x, "y": top - 6, "text_anchor": "middle"}
        if not upright:
            at = {"x": x + 4, "y": top - 6, "transform": f"rotate(-90 {x + 4:.1f} {top - 6})"}
        parts.append(_tag("text", _cut(name, size if upright else 66), class_=f"head{small}", **at))
    for index, name in enumerate(names):
        y = top + size * index
        at = {"x": left - 6, "y": y + size / 2 + 4, "text_anchor": "end"}
        parts.append(_tag("text", _cut(name, left - 8), class_=f"head{small}", **at))
        for place, share in enumerate(shares[index]):
            x = left + size * place
            box = _tag("rect", x=x, y=y, width=size - 1, height=size - 1, class_="cell", fill_opacity=share)
            tooltip = _tag("title", f"{name}, predicted {columns[place]}: {100 * share:.1f} %")
            at = {"x": x + size / 2, "y": y + size / 2 + 4, "text_anchor": "middle"}
            figure = _tag("text", f"{100 * share:.0f}", **at, class_="on" if share > 0.5 else "off")
            parts.append(_tag("g", tooltip + box + (figure if size >= 22 else "")))
    parts.append(_tag("text", "% of each true class, over all runs", x=left, y=height - 6, class_="label"))
    return _picture(title, height, parts)


def draw_reliability(title: str, column: str, bins: Reliability) -> Markup:
    """Draw the accuracy of each bin of confidence; the area of a dot is its number of predictions."""
    height, top = 250, 18
    across = _Scale(0, 1, _LEFT, WIDTH - 18)
    up = _Scale(0, 1, height - _BOTTOM, top)
    parts = [
        *_axis(across, height - _BOTTOM, top, "confidence, %", 100),
        *_side(up, _LEFT, WIDTH - 18, 100),
        _tag("line", x1=across(0), y1=up(0), x2=across(1), y2=up(1), class_="ideal"),
        _tag("text", "dashed: right as often as sure", x=across(0.99), y=up(0.04), text_anchor="end", class_="label"),
    ]
    for x, y, n in zip(bins.confidence.tolist(), bins.accuracy.tolist(), bins.count.tolist(), strict=True):
        radius = 2.5 + 9 * math.sqrt(n / bins.count.max())
        tooltip = _tag("title", f"{n} predictions with {100 * x:.0f} % confidence: {100 * y:.0f} % right")
        dot = _tag("circle", cx=across(x), cy=up(y), r=radius, class_=f"blob {column_class(column)}")
        parts.append(_tag("g", tooltip + dot))
    return _picture(title, height, parts)


_BAR_WIDTH, _BAR_HEIGHT = 220, 20


def _difference_scale(ends: tuple[float, float]) -> _Scale:
    return _Scale(*ends, 8, _BAR_WIDTH - 8)


def draw_difference(
    low: float, value: float, high: float, *, ends: tuple[float, float], kind: str, title: str
) -> Markup:
    """Draw a difference in points as a dot on its interval, with a line at zero; `kind` gives it its colour."""
    scale, middle = _difference_scale(ends), _BAR_HEIGHT / 2
    parts = [
        _tag("line", x1=scale(0), x2=scale(0), y1=0, y2=_BAR_HEIGHT, class_="zero"),
        _tag("line", x1=scale(low), x2=scale(high), y1=middle, y2=middle, class_=f"bar k-{kind}"),
        _tag("circle", cx=scale(value), cy=middle, r=4, class_=f"dot k-{kind}"),
    ]
    return _picture(title, _BAR_HEIGHT, parts, width=_BAR_WIDTH, class_="difference")


def draw_difference_axis(low: float, high: float) -> Markup:
    """Draw the axis that all `draw_difference` of the same ends share."""
    scale = _difference_scale((low, high))
    parts = [
        _tag("text", f"{value:+g}" if value else "0", x=scale(value), y=12, text_anchor="middle")
        for value in scale.ticks(6)
    ]
    return _picture("axis of the differences, in points", 16, parts, width=_BAR_WIDTH, class_="difference")


_COLUMNS = ("zero_shot", "fine_tune", "from_scratch", "linear_probe")


def column_class(column: str) -> str:
    """Return the style sheet's class of a column."""
    return f"c-{column}" if column in _COLUMNS else "c-other"


_LETTER = 6.5  # width of one, about


def _cut(text: str, width: float) -> str:
    most = max(int(width / _LETTER), 3)
    return text if len(text) <= most else f"{text[: most - 1]}\u2026"
