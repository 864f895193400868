"""The evaluation transform that a set of weights asks for, as plain data, without torch or an image library."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True)
class White:
    """What is white in images of more than eight bits.

    Attributes:
        level: the grey value; None for that of sixteen bits.
        by_tags: whether what a file itself says goes before that.
    """

    level: int | None = None
    by_tags: bool = False


@dataclass(frozen=True)
class Reading:
    """How the pixels of a file are read, where viewers differ, or it has more than are needed.

    Attributes:
        at_least: pixels of its shorter side that are needed, of which a JPEG may be decoded at a half, a quarter or an
            eighth; None for all that there are.
    """

    white: White = White()
    at_least: int | None = None


_REDUCED_TO = 2
"""Times the size that it is scaled to: what a JPEG is decoded at keeps at least so much, as Pillow's thumbnails do."""


@dataclass(frozen=True)
class Transform:
    """Describe how an image becomes a network's input.

    Attributes:
        resize: length in pixels that the shorter side is scaled to, aspect ratio kept.
        crop: side in pixels of the square cut from the centre.
        interpolation: `nearest`, `bilinear`, `bicubic` or `lanczos`, with antialiasing as Pillow does it.
        mean: per channel (red, green, blue), on the scale 0..1, subtracted from the pixels.
        std: per channel, divides what is left.
        white: the grey value of images of more than eight bits that is white; None for that of sixteen bits.
        white_tags: true where what a file itself says of that goes before it; else None.
        squash: true where both sides are scaled to that length, whatever they were; else None.
        decode: `scaled` where a JPEG is decoded at a fraction of its size; None for the whole.
    """

    resize: int
    crop: int
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    white: int | None = None
    white_tags: bool | None = None
    squash: bool | None = None
    decode: str | None = None

    @property
    def reading(self) -> Reading:
        """How files are read for it."""
        at_least = None if self.decode is None else _REDUCED_TO * self.resize
        return Reading(White(self.white, bool(self.white_tags)), at_least)

    @property
    def peculiarities(self) -> list[str]:
        """What its pixels owe to more than size and interpolation, in words for names of files."""
        words = {
            f"white-{self.white}": self.white is not None,
            "tags": self.white_tags,
            "squash": self.squash,
            f"{self.decode}": self.decode is not None,
        }
        return [word for word, applies in words.items() if applies]

    def of_files(self, white: White, decode: str) -> Transform:
        """Return the transform for images in which this is white, decoded as `data.decode` says it."""
        scaled = None if decode == "full" else decode
        return replace(self, white=white.level, white_tags=white.by_tags or None, decode=scaled)

    def sized(self, crop: int) -> Transform:
        """Return the transform for squares of another side, which show the same part of an image."""
        return replace(self, crop=crop, resize=round(self.resize * crop / self.crop))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; the inverse of `from_dict`."""
        values = {name: value for name, value in asdict(self).items() if value is not None}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Transform:
        """Build from what `to_dict` gave (lists may stand for tuples)."""
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**plain)
