"""Write text into pictures, in a font that is there on every machine and has letters of many scripts."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import matplotlib
from PIL import ImageFont


@cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Load the font that comes with matplotlib, `size` pixels high."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)


def fit(text: str, lettering: ImageFont.FreeTypeFont, width: float) -> str:
    """Return a text in one line, cut to a width in pixels where it is wider."""
    text = " ".join(text.split())
    if lettering.getlength(text) <= width:
        return text
    while text and lettering.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text.rstrip()}…"
