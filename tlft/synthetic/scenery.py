"""Grounds, light, and what lies about: everything in a drawn scene but the animal.

Nothing in here may depend on which animal will stand in the scene.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter

from tlft.synthetic.solids import Body, Colour, Floats, Layer, Light, Slot, planes, varied

Painter = Callable[[Generator, int, int, Light], Floats]
"""Draws a ground of some height and width in pixels."""


def _noise(rng: Generator, height: int, width: int, cell: float, stretch: float = 1.0) -> Floats:
    """Return smooth noise (height, width) of unit variance; `cell` is in pixels, `stretch` lengthens it along x."""
    grid = rng.standard_normal((max(int(height / cell), 2) + 2, max(int(width / cell / stretch), 2) + 2))
    return np.asarray(Image.fromarray(grid.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC))


def _fractal(rng: Generator, height: int, width: int, cells: Sequence[float], stretch: float = 1.0) -> Floats:
    octaves = [_noise(rng, height, width, cell, stretch) * (cell / cells[0]) ** 0.5 for cell in cells]
    return np.asarray(sum(octaves) / math.sqrt(sum(cell / cells[0] for cell in cells)), np.float32)


def _relief(bumps: Floats, light: Light, strength: float) -> Floats:
    """Return the brightness factor (h, w, 1) of a bumpy ground."""
    down, right = np.gradient(bumps)
    slope = right * light.towards[0] + down * light.towards[1]
    return np.asarray(np.clip(1 - strength * slope, 0.3, 1.8), np.float32)[..., None]


def _turned(rng: Generator, height: int, width: int, cells: Sequence[float], stretch: float) -> Floats:
    """Return stretched noise at any angle."""
    side = int(math.hypot(height, width)) + 2
    picture = Image.fromarray(_fractal(rng, side, side, cells, stretch))
    picture = picture.rotate(rng.uniform(0, 180), Image.Resampling.BILINEAR)
    left, top = (side - width) // 2, (side - height) // 2
    return np.asarray(picture.crop((left, top, left + width, top + height)))


def _mix(low: Colour, high: Colour, amount: Floats) -> Floats:
    """Return a colour between low and high for every amount (h, w) in 0..1."""
    first = np.asarray(low, np.float32)[:, None, None]
    planes = first + (np.asarray(high, np.float32)[:, None, None] - first) * np.clip(amount, 0, 1)
    return np.asarray(planes, np.float32).transpose(1, 2, 0)


def _bokeh(rng: Generator, height: int, width: int) -> Floats:
    """Draw what lies far behind: blurred light and dark greens, browns, and discs of light."""
    size = (width // 4, height // 4)  # nothing in it is sharp
    shade = 0.45 + 0.25 * _fractal(rng, size[1], size[0], (22, 10))
    ground = _mix(varied(rng, (0.08, 0.14, 0.05), 0.4), varied(rng, (0.4, 0.46, 0.22), 0.4), shade)
    canvas = Image.fromarray((ground * 255).astype(np.uint8))
    pen = ImageDraw.Draw(canvas)
    for _ in range(int(rng.integers(0, 25))):
        x, y, r = rng.uniform(0, size[0]), rng.uniform(0, size[1]), rng.uniform(1, 4)
        pen.ellipse((x - r, y - r, x + r, y + r), fill=_rgb(varied(rng, (0.7, 0.75, 0.5), 0.3)))
    canvas = canvas.filter(ImageFilter.GaussianBlur(rng.uniform(1.2, 3)))
    return planes(canvas.resize((width, height), Image.Resampling.BICUBIC))


def _rgb(colour: Floats) -> tuple[int, ...]:
    return tuple(int(value * 255) for value in np.clip(colour, 0, 1))


def _leaf(rng: Generator, height: int, width: int, light: Light) -> Floats:
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    angle, scale = rng.uniform(0, 2 * math.pi), math.hypot(height, width)
    x, y = xs - width * rng.uniform(0.3, 0.7), ys - height * rng.uniform(0.3, 0.7)
    u = (x * math.cos(angle) + y * math.sin(angle)) / scale
    v = (-x * math.sin(angle) + y * math.cos(angle)) / scale + 0.15 * u * u
    wobble = 0.01 * _noise(rng, height, width, 30)
    spacing, slant = rng.uniform(0.08, 0.16), rng.uniform(0.5, 1.1)
    phase = ((u - slant * np.abs(v) + wobble) / spacing) % 1 - 0.5
    veins = np.exp(-((phase / 0.035) ** 2)) * 0.6 + np.exp(-((v / 0.012) ** 2))
    bumps = 1.5 * np.cos(phase * 2 * math.pi) * 2 + 0.5 * _fractal(rng, height, width, (12, 4))
    green = varied(rng, ((0.25, 0.36, 0.12), (0.38, 0.46, 0.18), (0.16, 0.27, 0.11))[rng.integers(3)], 0.15)
    blotches = 0.5 + 0.25 * _fractal(rng, height, width, (60, 15, 5))
    base = _mix(green * np.float32(0.8), green * np.float32(1.2), blotches)
    base *= _relief(bumps, light, 0.35)
    base += _mix((0, 0, 0), np.array((0.16, 0.18, 0.1), np.float32) * np.float32(rng.uniform(0.4, 1.2)), veins)
    breadth = rng.uniform(0.22, 0.6) + 0.006 * _noise(rng, height, width, 6)
    edge = np.clip((breadth - np.abs(v)) * scale / 2 + 0.5, 0, 1)[..., None]
    return np.asarray(base * edge + _bokeh(rng, height, width) * (1 - edge), np.float32)


PETALS = ((0.8, 0.79, 0.76), (0.84, 0.68, 0.14), (0.76, 0.42, 0.56), (0.54, 0.4, 0.66), (0.8, 0.42, 0.18))


def _petal(rng: Generator, height: int, width: int, light: Light) -> Floats:
    hue = varied(rng, PETALS[rng.integers(len(PETALS))])
    folds = _turned(rng, height, width, (22, 8), 14)
    wash = 0.6 + 0.25 * _fractal(rng, height, width, (140, 60)) + 0.1 * folds
    ground = _mix(hue * np.float32(0.72), hue * np.float32(1.06), wash)
    return np.asarray(ground * _relief(folds, light, 0.25), np.float32)


def _flower(rng: Generator, height: int, width: int, light: Light) -> Floats:
    """Draw a daisy-like bloom: rows of petals around a disc of florets."""
    layer = Layer(width, height, light, fine=1)
    size = min(height, width) * rng.uniform(0.5, 0.85)
    bloom = Slot(width * rng.uniform(0.3, 0.7), height * rng.uniform(0.3, 0.7), size, rng.uniform(0, 6))
    body = Body(layer, bloom, rng)
    hue = varied(rng, PETALS[rng.integers(len(PETALS))])
    count, heart = 2 * int(rng.integers(5, 12)), rng.uniform(0.15, 0.32)

    def streaked(ball: Floats) -> Floats:
        return np.asarray(hue * (0.72 + 0.07 * np.sin(ball[:, 1:2] * 16) + 0.1 * ball[:, :1]), np.float32)

    for k in range(count):
        angle, mid = 2 * math.pi * k / count + rng.normal(0, 0.06), heart + 0.32
        place = (mid * math.cos(angle), mid * math.sin(angle), -0.06 - 0.08 * (k % 2))
        body.part(place, (0.4, 2.6 / count, 0.035), streaked, 0.1, rng.normal(0, 0.1), angle)
    centre = varied(rng, ((0.85, 0.62, 0.1), (0.3, 0.2, 0.08), (0.55, 0.6, 0.15))[rng.integers(3)])
    dome = body.part((0, 0, -0.06), (heart, heart, heart * 0.45), centre * np.float32(0.7), 0.05)
    body.fur(dome, centre, 1800, 0.05, 0)
    return layer.over(_bokeh(rng, height, width), shadow=False)


def _grains(low: Colour, high: Colour, fine: float, rough: float) -> Painter:
    """Return a painter of ground that is made of grains: sand, soil or stone."""

    def paint(rng: Generator, height: int, width: int, light: Light) -> Floats:
        bumps = _fractal(rng, height, width, (40, 10, fine)) + 0.5 * _noise(rng, height, width, fine)
        speckle = rng.standard_normal((height, width), np.float32)
        amount = 0.5 + 0.16 * _fractal(rng, height, width, (100, 24, 4)) + 0.1 * speckle
        ground = _mix(varied(rng, low, 0.2), varied(rng, high, 0.2), amount)
        return np.asarray(ground * _relief(bumps, light, rough), np.float32)

    return paint


def _wood(rng: Generator, height: int, width: int, light: Light) -> Floats:
    grain = _turned(rng, height, width, (30, 9, 3), 26)
    rings = np.sin(grain * rng.uniform(3, 6)) * 0.5 + 0.4 * grain
    dark, pale = (((0.3, 0.2, 0.12), (0.62, 0.46, 0.3)), ((0.36, 0.34, 0.32), (0.66, 0.63, 0.58)))[rng.integers(2)]
    ground = _mix(varied(rng, dark), varied(rng, pale), 0.5 + 0.3 * rings + 0.05 * rng.standard_normal((height, width)))
    return np.asarray(ground * _relief(grain, light, rng.uniform(0.2, 0.7)), np.float32)


def _grass(rng: Generator, height: int, width: int, light: Light) -> Floats:
    """Draw blades at three distances: the nearer, the sharper."""
    canvas = Image.fromarray((_bokeh(rng, height, width) * 255).clip(0, 255).astype(np.uint8))
    lie = rng.uniform(0, math.pi)
    for coarse, blur, count in ((4, 1.2, 16), (2, 1.0, 14), (1, 0.6, 14)):
        size = (width // coarse, height // coarse)
        canvas = canvas.resize(size, Image.Resampling.BILINEAR)
        pen = ImageDraw.Draw(canvas)
        for _ in range(count):
            _draw_blade(pen, rng, size, lie + rng.normal(0, 0.35))
        canvas = canvas.filter(ImageFilter.GaussianBlur(blur))
    return planes(canvas)


def _draw_blade(pen: ImageDraw.ImageDraw, rng: Generator, size: tuple[int, int], angle: float) -> None:
    """Draw one blade of grass, light on one side of its fold and darker on the other."""
    t = np.linspace(-1, 1, 9)[:, None]
    along = np.array([math.cos(angle), math.sin(angle)])
    across = np.array([-along[1], along[0]])
    middle, reach = rng.uniform(0, 1, 2) * size, rng.uniform(0.3, 0.9) * max(size)
    spine = middle + along * reach * t + across * reach * rng.normal(0, 0.12) * t * t
    thick, green = rng.uniform(0.015, 0.04) * max(size), varied(rng, (0.28, 0.4, 0.15), 0.35)
    for edge, shade in ((1, 0.8), (-1, 1.1)):
        strip = np.vstack([spine, (spine + across * edge * thick * (1 - t) / 2)[::-1]])
        pen.polygon(strip.ravel().tolist(), fill=_rgb(green * np.float32(shade)))


GROUNDS: dict[str, tuple[Painter, tuple[str, ...]]] = {
    "leaf": (_leaf, ("drop", "drop", "pollen")),
    "flower": (_flower, ("pollen", "drop")),
    "sand": (_grains((0.55, 0.43, 0.3), (0.85, 0.75, 0.58), 2.0, 0.3), ("pebble", "pebble", "twig")),
    "wood": (_wood, ("pebble", "twig", "petal")),
    "grass": (_grass, ("petal", "twig", "pollen")),
    "stone": (_grains((0.4, 0.4, 0.4), (0.72, 0.7, 0.67), 3.0, 0.2), ("pebble", "twig", "petal")),
    "petal": (_petal, ("drop", "drop", "pollen")),
    "soil": (_grains((0.16, 0.11, 0.08), (0.45, 0.34, 0.25), 4.0, 0.5), ("pebble", "pebble", "twig", "petal")),
}
"""How each kind of ground is painted, and what lies about on it."""

KINDS = tuple(GROUNDS)


def scatter(rng: Generator, layer: Layer, ground: Floats, things: Sequence[str]) -> None:
    """Strew what lies about on this ground: pebbles, twigs, fallen petals, pollen, drops."""
    height, width = ground.shape[:2]
    for _ in range(int(rng.choice((0, 2, 4, 8)))):
        size = 0.12 * min(width, height) * rng.uniform(0.3, 1) ** 2
        slot = Slot(rng.uniform(0, width - 1), rng.uniform(0, height - 1), size, rng.uniform(0, 6))
        body, here = Body(layer, slot, rng), ground[int(slot.y), int(slot.x)]
        kind = rng.choice(things)
        if kind == "pebble":
            grey = varied(rng, here * 0.5 + np.array((0.24, 0.22, 0.2)), 0.35)
            body.part((0, 0, 0.12), rng.uniform(0.3, 0.7, 3) * (1, 1, 0.6), grey, 0.05, rng.normal(0, 0.2))
        elif kind == "twig":
            bends = np.c_[np.linspace(-4, 4, 5), rng.normal(0, 0.18, 5), np.full(5, 0.15)]
            bark = varied(rng, (0.4, 0.31, 0.22), 0.25)
            body.chains([bends], np.linspace(0.15, 0.06, 5).tolist(), bark, 0.02)
            body.chains([[bends[2], bends[2] + (1.5, 0.9, 0.3)]], (0.09, 0.04), bark, 0.02)
        elif kind == "petal":
            hue = varied(rng, PETALS[rng.integers(len(PETALS))])
            for part in (-0.25, 0.0, 0.25):
                body.part((0, part * 1.2, 0.12), (1.1 - abs(part), 0.34, 0.07), hue, 0.02, 0.1, part)
        elif kind == "pollen":
            for x, y in rng.normal(0, 1, (6, 2)):
                body.part((x, y, 0.05), (0.1, 0.1, 0.1), varied(rng, (0.85, 0.68, 0.2)), 0.1)
        else:
            body.part((0, 0, 0.05), (0.4, 0.4, 0.2), here * np.float32(0.95), 1.5)


def draw_light(rng: Generator) -> Light:
    """Choose where the camera is (from above to half from the side) and how the light falls."""
    elevation = math.pi / 2 if rng.random() < 0.35 else rng.uniform(0.5, 1.5)
    sin, cos = math.sin(elevation), math.cos(elevation)
    ground = np.array([[1, 0, 0], [0, -sin, -cos], [0, -cos, sin]], np.float32)
    azimuth, height = rng.uniform(0, 2 * math.pi), rng.uniform(0.6, 1.3)
    sun = [math.cos(azimuth) * math.cos(height), math.sin(azimuth) * math.cos(height), math.sin(height)]
    warm, share = rng.normal(0, 0.06), rng.uniform(0.35, 0.7)
    tint = np.array([1 + warm, 1, 1 - warm], np.float32)
    towards = ground @ np.array(sun, np.float32)
    return Light(ground, towards, tint * np.float32(1.5 - share), np.float32(share) * tint[::-1])
