"""Draw what people look at first in a run: a gallery of evaluation images and the confusion matrix.

Nothing is computed or kept here.
"""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from PIL import Image, ImageDraw, ImageOps

from tlft.evaluation.lettering import fit, font
from tlft.evaluation.wording import say_probability

_COLUMNS, _LINES = 5, 4
_TILE = 180
_GAP = 14
_LINE = 18
_CAPTION = 2 * _LINE + 4
_HEADER = 34
_FRAME = 4
_BADGE = 24
_BLACK, _GREY, _PALE, _RED = "#1a1a1a", "#6b6b6b", "#dcdcdc", "#c62828"

_MOST_CLASSES_WITH_TEXT = 14
_MOST_NAMES = 50
_MOST_CONFUSED = 40
_LONGEST_NAME = 18


@dataclass(frozen=True)
class GalleryItem:
    """An image with what was predicted.

    Attributes:
        pixels: uint8 [h, w, 3].
        confidence, label_probability: of the predicted and of the true class, all outputs competing, 0..1.
    """

    pixels: np.ndarray
    label: str
    predicted: str
    confidence: float
    label_probability: float
    correct: bool


def select_for_gallery(correct: np.ndarray, confidence: np.ndarray, labels: np.ndarray, count: int = 20) -> list[int]:
    """Return positions in the arrays [n]: mistakes first, the most confident ones leading, then every class in turn."""
    mistakes = np.flatnonzero(~correct)
    mistakes = mistakes[np.argsort(-confidence[mistakes], kind="stable")]
    right = np.flatnonzero(correct)
    turn = np.zeros(len(labels), dtype=np.int64)
    for label in np.unique(labels[right]):
        of_class = right[labels[right] == label]
        turn[of_class] = np.arange(len(of_class))
    right = right[np.lexsort((labels[right], turn[right]))]
    return [int(position) for position in [*mistakes, *right][:count]]


def draw_gallery(items: Sequence[GalleryItem], mistakes: int, total: int) -> Image.Image:
    """Draw images with true class and prediction; mistakes come first, in red and with a cross.

    Args:
        items: the images, of which as many are drawn as there is room for (20).
        mistakes: how many there are among all evaluation images.
        total: how many evaluation images there are.
    """
    ranked = sorted(items, key=lambda item: item.correct)[: _COLUMNS * _LINES]
    lines = max(-(-len(ranked) // _COLUMNS), 1)
    width = _GAP + _COLUMNS * (_TILE + _GAP)
    height = _HEADER + lines * (_TILE + _CAPTION + _GAP)
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    if not ranked:
        draw.text((width / 2, height / 2), "no images to show", _GREY, font(18), anchor="mm")
        return sheet
    header = _describe_choice(sum(not item.correct for item in ranked), len(ranked), mistakes, total)
    draw.text((_GAP, _HEADER / 2), fit(header, font(15), width - 2 * _GAP), _BLACK, font(15), anchor="lm")
    for index, item in enumerate(ranked):
        line, column = divmod(index, _COLUMNS)
        _draw_tile(sheet, item, _GAP + column * (_TILE + _GAP), _HEADER + line * (_TILE + _CAPTION + _GAP))
    return sheet


def _describe_choice(mistakes: int, shown: int, mistakes_in_all: int, total: int) -> str:
    """Return `20 of 23 mistakes, surest first, of 153 evaluation images`, or how many right ones stand behind them."""
    parts = []
    if mistakes_in_all:
        parts.append(f"{mistakes} of {mistakes_in_all} mistakes (\N{BALLOT X}, in red), surest first")
    if right := shown - mistakes:
        parts.append(f"{right} of {total - mistakes_in_all} right ones")
    return f"{', then '.join(parts)}; {total} evaluation images"


def draw_confusion(matrix: np.ndarray, rows: Sequence[str], columns: Sequence[str], title: str) -> bytes:
    """Draw counts, int [rows, columns], and shares of each true class, coloured by share; return a PNG file.

    The columns are the classes of the rows, and perhaps one more for everything else. Of more than `_MOST_NAMES`
    classes those are drawn that are confused most often, or missed where fewer are, and all others are one column.
    """
    if len(rows) > _MOST_NAMES:
        shown, confused = _most_confused(matrix)
        title = f"{title}: {_describe_shown(len(shown), confused, len(rows))}"
        matrix = np.column_stack([matrix[np.ix_(shown, shown)], np.delete(matrix[shown], shown, axis=1).sum(axis=1)])
        rows = [rows[index] for index in shown]
        columns = [*rows, "all others"]
    totals = matrix.sum(axis=1)
    shares = matrix / np.maximum(totals, 1)[:, None]
    figure, image = _grid(tuple(f"{_cut(name)} ({n})" for name, n in zip(rows, totals, strict=True)), tuple(columns))
    axes = figure.axes[0]
    image.set_data(shares)
    axes.set_title(textwrap.fill(title, max(50, int(13 * figure.get_figwidth()))), fontsize=11, parse_math=False, y=1)
    if len(rows) <= _MOST_CLASSES_WITH_TEXT:
        _write_cells(axes, matrix, shares)
    file = io.BytesIO()
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # drawn as a box, which says as much
        box = figure.get_tightbbox(renderer).padded(0.12)  # "tight" would draw all of it to find this
        figure.savefig(file, format="png", bbox_inches=box, pil_kwargs={"compress_level": 3})
    for text in list(axes.texts):
        text.remove()
    return file.getvalue()


def _most_confused(matrix: np.ndarray) -> tuple[np.ndarray, int]:
    """Return which classes to draw, int64 [`_MOST_CONFUSED`] in order, and how many are confused with one another.

    First come those of the largest counts beside the diagonal, then those of which most is missed in another way.
    """
    mistakes = matrix[:, : len(matrix)].copy()
    np.fill_diagonal(mistakes, 0)
    ranked = np.argsort(-mistakes, axis=None, kind="stable")[: np.count_nonzero(mistakes)]
    pairs = np.column_stack(np.unravel_index(ranked, mistakes.shape)).ravel()
    missed = np.argsort(matrix.diagonal() - matrix.sum(axis=1), kind="stable")
    _, first = np.unique(pairs, return_index=True)
    confused = len(first)
    order = np.concatenate([pairs[np.sort(first)], missed[~np.isin(missed, pairs)]])
    return np.sort(order[:_MOST_CONFUSED]), confused


def _describe_shown(shown: int, confused: int, classes: int) -> str:
    """Say which of all classes are drawn, of which so many are confused with one another."""
    if confused > shown:
        return f"the {shown} of {classes} classes that are most often confused with one another"
    if confused:
        others = "" if confused == shown else f", and {shown - confused} others"
        return f"the {confused} of {classes} classes that are confused with one another{others}"
    return f"{shown} of {classes} classes, none of which is taken for another"


@lru_cache(maxsize=1)
def _grid(rows: tuple[str, ...], columns: tuple[str, ...]) -> tuple[Figure, AxesImage]:
    """Return a figure with empty cells, for all matrices of the same classes: to make it takes half of a drawing."""
    cell = 1.3 if len(rows) <= 4 else 0.75 if len(rows) <= _MOST_CLASSES_WITH_TEXT else 0.24
    # the figure is the cells alone: the box that is saved makes room for whatever stands around them
    figure = Figure(figsize=(cell * len(columns), cell * len(rows)), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    image = axes.imshow(np.zeros((len(rows), len(columns))), cmap="Blues", vmin=0, vmax=1)
    _name_axes(axes, rows, columns)
    if len(rows) > _MOST_CLASSES_WITH_TEXT:
        scale = axes.inset_axes((1.02, 0, 0.02, 1))
        figure.colorbar(image, cax=scale, ticks=[0, 0.5, 1], format="{x:.0%}", label="share of the true class")
    for index in range(len(rows)):
        corner = (index - 0.5, index - 0.5)
        axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=_BLACK, linewidth=0.8, clip_on=False))
    return figure, image


def _draw_tile(sheet: Image.Image, item: GalleryItem, left: int, top: int) -> None:
    draw = ImageDraw.Draw(sheet)
    right, bottom = left + _TILE - 1, top + _TILE - 1
    picture = ImageOps.contain(Image.fromarray(item.pixels), (_TILE, _TILE))
    draw.rectangle((left, top, right, bottom), "#f2f2f2")
    sheet.paste(picture, (left + (_TILE - picture.width) // 2, top + (_TILE - picture.height) // 2))
    if item.correct:
        draw.rectangle((left, top, right, bottom), outline=_PALE)
    else:
        draw.rectangle((left, top, right, bottom), outline=_RED, width=_FRAME)
        draw.rectangle((right - _BADGE, top, right, top + _BADGE), _RED)
        center = (right - _BADGE / 2, top + _BADGE / 2)
        draw.text(center, "\N{BALLOT X}", "white", font(18, bold=True), anchor="mm")
    color = _BLACK if item.correct else _RED
    lines = [("true", item.label, "" if item.correct else say_probability(item.label_probability), _BLACK, font(13))]
    lines.append(("pred", item.predicted, say_probability(item.confidence), color, font(13, bold=not item.correct)))
    for number, (name, text, share, ink, letters) in enumerate(lines, start=1):
        y, indent = bottom + number * _LINE, 36
        room = _TILE - indent - (draw.textlength(share, font(13)) + 6 if share else 0)
        draw.text((left, y), name, _GREY, font(12), anchor="ls")
        draw.text((left + indent, y), fit(text, letters, room), ink, letters, anchor="ls")
        draw.text((right, y), share, ink, font(13), anchor="rs")


def _name_axes(axes: Axes, rows: Sequence[str], columns: Sequence[str]) -> None:
    crowded = len(rows) > 4 or max(len(name) for name in columns) > 14
    turned: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if crowded else {}
    # a class may have $ in its name, which is no formula
    plain: dict[str, Any] = {"parse_math": False, "fontsize": 10 if len(rows) <= _MOST_CLASSES_WITH_TEXT else 8}
    axes.set_yticks(range(len(rows)), rows, **plain)
    axes.set_xticks(range(len(columns)), [_cut(name) for name in columns], **plain, **turned)
    axes.set_xlabel("predicted class", fontsize=11, color=_GREY)
    axes.set_ylabel("true class (images)", fontsize=11, color=_GREY)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _cut(name: str) -> str:
    name = " ".join(name.split())
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1].rstrip()}…"


def _write_cells(axes: Axes, matrix: np.ndarray, shares: np.ndarray) -> None:
    large = len(matrix) <= 4
    for row, column in np.ndindex(*matrix.shape):
        count, share = matrix[row, column], shares[row, column]
        color = _GREY if count == 0 else "white" if share > 0.55 else _BLACK
        size = 15 if large else 11
        axes.text(column, row + 0.02, f"{count}", ha="center", va="bottom", fontsize=size, color=color)
        size = 10 if large else 8
        axes.text(column, row + 0.1, f"{share:.0%}", ha="center", va="top", fontsize=size, color=color)
