"""The evaluation transform that a set of weights asks for, as plain data, without torch or an image library."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any


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
    """

    resize: int
    crop: int
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    white: int | None = None

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
