"""The evaluation transform that a set of weights asks for, as plain data, without torch or an image library."""

from __future__ import annotations

from dataclasses import asdict, dataclass
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
    """

    resize: int
    crop: int
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; the inverse of `from_dict`."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Transform:
        """Build from what `to_dict` gave (lists may stand for tuples)."""
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**plain)
