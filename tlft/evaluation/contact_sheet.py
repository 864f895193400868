"""Draw some images of each class side by side, for whoever wants to see what is in a folder before anything is run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw

from tlft.evaluation.lettering import fit, font

IMAGES_OF_A_CLASS = 8
MOST_CLASSES = 40
_TILE, _GAP, _NAME = 112, 6, 22


def draw_contact_sheet(classes: Mapping[str, Sequence[np.ndarray]], counts: Mapping[str, int]) -> Image.Image:
    """Draw a line of images for each class, with its name and how many images it has.

    Args:
        classes: name -> images, uint8 [h, w, 3]; the first of them and of the classes are drawn.
        counts: how many images each class has.
    """
    shown = list(classes)[:MOST_CLASSES]
    width = _GAP + IMAGES_OF_A_CLASS * (_TILE + _GAP)
    foot = _NAME if len(classes) > len(shown) else 0
    sheet = Image.new("RGB", (width, _GAP + len(shown) * (_NAME + _TILE + _GAP) + foot), "white")
    draw = ImageDraw.Draw(sheet)
    for line, name in enumerate(shown):
        top = _GAP + line * (_NAME + _TILE + _GAP)
        text = f"{name}: {counts[name]} image{'s' * (counts[name] != 1)}"
        draw.text((_GAP, top + _NAME - 6), fit(text, font(14, bold=True), width - 2 * _GAP), "#1a1a1a", font(14), "ls")
        for column, pixels in enumerate(classes[name][:IMAGES_OF_A_CLASS]):
            sheet.paste(Image.fromarray(pixels).resize((_TILE, _TILE)), (_GAP + column * (_TILE + _GAP), top + _NAME))
    if foot:
        text = f"and {len(classes) - len(shown)} more classes"
        draw.text((_GAP, sheet.height - 6), text, "#6b6b6b", font(13), "ls")
    return sheet
