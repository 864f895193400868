"""Solids in three dimensions: ellipsoids, limbs, hair and wings, shaded and laid on a picture with their shadow.

What is built of them, and where it stands, is the callers' business.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFilter

Floats = NDArray[np.float32]
Colour = Sequence[float] | Floats
Places = NDArray[np.intp]
Paint = Colour | Callable[[Floats], Floats]
"""One colour, or a function from places in the unit ball (n, 3) to colours (n, 3)."""


@dataclass(frozen=True)
class Slot:
    """Where an animal stands: place in pixels, body length in pixels, heading in radians."""

    x: float
    y: float
    length: float
    heading: float


@dataclass(frozen=True)
class Light:
    """Camera and light; x runs right, y down, z towards the viewer.

    Attributes:
        ground: (3, 3), from the ground's axes (right, away, up) to the camera's.
        towards: unit vector to the light, (3,).
        colour: of the direct light, (3,).
        ambient: of the light from everywhere, (3,).
    """

    ground: Floats
    towards: Floats
    colour: Floats
    ambient: Floats


class Layer:
    """A transparent sheet with a depth buffer, on which shaded solids are drawn in camera coordinates.

    Its resolution is `fine` times that of the picture, which smooths edges.
    """

    def __init__(self, width: int, height: int, light: Light, fine: int = 2) -> None:
        self.light, self.fine = light, fine
        self.pixels = np.zeros((fine * height, fine * width, 4), np.uint8)  # premultiplied by alpha
        self.depth = np.full(self.pixels.shape[:2], -np.inf, np.float32)

    def _window(self, low: Floats, high: Floats) -> tuple[slice, slice, Floats, Floats]:
        height, width = self.depth.shape
        x0, x1 = max(int(low[0]), 0), max(min(int(high[0]) + 2, width), 0)
        y0, y1 = max(int(low[1]), 0), max(min(int(high[1]) + 2, height), 0)
        xs, ys = np.arange(x0, x1, dtype=np.float32)[None, :], np.arange(y0, y1, dtype=np.float32)[:, None]
        return slice(y0, y1), slice(x0, x1), xs, ys

    def shade(self, normals: Floats, albedo: Floats, gloss: float) -> Floats:
        """Return the colours (n, 3) of surfaces with these unit normals (n, 3)."""
        light = self.light
        up = normals @ light.ground[:, 2]
        diffuse = np.maximum(normals @ light.towards * 0.8 + 0.2, 0)
        sky = 0.62 + 0.38 * up
        half = light.towards + np.array([0, 0, 1], np.float32)
        shine = np.maximum(normals @ (half / np.linalg.norm(half)), 0)
        for _ in range(3):  # to the 8th and 64th power, by squares for speed
            shine = shine * shine
        sharp = shine * shine
        sharp = sharp * sharp * sharp * sharp
        edge = 1 - np.maximum(normals[:, 2], 0)
        glint = gloss * (0.75 * sharp + 0.22 * shine + 0.25 * edge * edge * edge * np.maximum(up + 0.3, 0))
        lit = np.empty((3, len(normals)), np.float32)  # a plane per colour: loops over three values are slow
        for k in range(3):
            lit[k] = albedo[..., k] * (diffuse * light.colour[k] + sky * light.ambient[k]) + glint * light.colour[k]
        return lit.T

    def _paint(self, y: Places, x: Places, depth: Floats, colours: Floats) -> None:
        rgba = np.full((len(y), 4), 255, np.uint8)
        np.minimum(colours * 255, 255, out=rgba[:, :3], casting="unsafe")
        where = y * self.depth.shape[1] + x
        self.pixels.view(np.uint32).reshape(-1)[where] = rgba.view(np.uint32)[:, 0]  # four channels at once
        self.depth.reshape(-1)[where] = depth

    def _splat(self, points: Floats, colours: Floats, repeats: int = 1) -> None:
        """Draw dots (3, n) where nothing nearer is; each of the colours serves `repeats` dots."""
        height, width = self.depth.shape
        x, y = points[0].astype(np.intp), points[1].astype(np.intp)
        front = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        front &= points[2] > self.depth.reshape(-1).take(y * width + x, mode="clip") - 1
        keep = np.flatnonzero(front)
        self._paint(y[keep], x[keep], points[2, keep], colours[keep // repeats])

    def ellipsoid(self, centre: Floats, axes: Floats, paint: Paint, gloss: float) -> None:
        """Draw an ellipsoid whose semi-axes are the columns of `axes` (3, 3)."""
        centre, axes = centre * self.fine, axes * self.fine
        extent = np.sqrt((axes**2).sum(1))
        rows, columns, xs, ys = self._window(centre - extent, centre + extent)
        inverse = np.linalg.inv(axes).astype(np.float32)
        a = inverse.T @ inverse
        dx, dy = xs - centre[0], ys - centre[1]
        b = (a[0, 2] * dx + a[1, 2] * dy) / a[2, 2]
        root = b * b - ((a[0, 0] * dx + 2 * a[0, 1] * dy) * dx + (a[1, 1] * dy * dy - 1)) / a[2, 2]
        dz = np.sqrt(np.maximum(root, 0)) - b
        y, x = np.nonzero((root > 0) & (dz + centre[2] > self.depth[rows, columns]))
        d = np.stack([dx[0, x], dy[y, 0], dz[y, x]])
        normals = a @ d
        normals *= 1 / np.sqrt(normals[0] ** 2 + normals[1] ** 2 + normals[2] ** 2)
        albedo = paint((inverse @ d).T) if callable(paint) else np.asarray(paint, np.float32)
        self._paint(y + rows.start, x + columns.start, d[2] + centre[2], self.shade(normals.T, albedo, gloss))

    def limbs(self, places: Floats, radii: Floats, colour: Colour, gloss: float) -> None:
        """Draw m rods, jointed at n places each (m, n, 3), with these radii at the joints (n,)."""
        places, radii = places * self.fine, np.maximum(radii * self.fine, 0.8)  # thinner ones would break up
        starts, along = places[:, :-1].reshape(-1, 3), np.diff(places, axis=1).reshape(-1, 3)
        thick = np.tile(np.stack([radii[:-1], np.diff(radii)]), len(places))
        length = np.hypot(along[:, 0], along[:, 1]) + np.float32(1e-3)
        overlap = np.minimum(thick[0] / length, 1)[:, None] / 2  # closes the gap at a bent joint
        t = (1 + 2 * overlap) * np.linspace(0, 1, int(1.15 * length.max()) + 3, dtype=np.float32) - overlap
        w = np.linspace(-1, 1, int(2.2 * radii.max()) + 3, dtype=np.float32)
        normals = np.empty((3, len(along), len(w)), np.float32)
        normals[0] = -(along[:, 1] / length)[:, None] * w
        normals[1] = (along[:, 0] / length)[:, None] * w
        normals[2] = np.sqrt(1 - w * w)
        radius = thick[0][:, None] + thick[1][:, None] * t
        middle = starts.T[:, :, None] + along.T[:, :, None] * t
        points = middle[:, :, None] + normals[..., None] * radius[:, None]
        lit = self.shade(normals.reshape(3, -1).T, np.asarray(colour, np.float32), gloss)
        self._splat(points.reshape(3, -1), lit, t.shape[1])

    def hairs(self, roots: Floats, tips: Floats, colours: Floats) -> None:
        """Draw straight hairs from roots (n, 3) to tips (n, 3), the outer half lighter."""
        order = np.argsort(roots[:, 2])  # the nearer ones last
        roots, along = (roots[order] * self.fine).T, ((tips - roots)[order] * self.fine).T
        half = int(np.sqrt((along**2).sum(0)).mean() * 0.4) + 1
        points = roots[..., None] + along[..., None] * np.linspace(0, 1, 2 * half, dtype=np.float32)
        halves = colours[order][:, None] * np.array([[0.75], [1.1]], np.float32)
        self._splat(points.reshape(3, -1), halves.reshape(-1, 3), half)

    def film(self, outline: Floats, veins: Sequence[Floats], tint: Colour, opacity: float) -> None:
        """Draw a flat translucent membrane with veins; `outline` (n, 3) lies in a plane."""
        outline = outline * self.fine
        rows, columns, xs, ys = self._window(outline.min(0), outline.max(0))
        size = (columns.stop - columns.start, rows.stop - rows.start)
        if min(size) <= 0:
            return
        corner = np.array([columns.start, rows.start])
        cover, lines = Image.new("L", size), Image.new("L", size)
        ImageDraw.Draw(cover).polygon((outline[:, :2] - corner).ravel().tolist(), fill=255)
        pen = ImageDraw.Draw(lines)
        for vein in [*(v * self.fine for v in veins), np.vstack([outline, outline[:1]])]:
            pen.line((vein[:, :2] - corner).ravel().tolist(), fill=255, width=self.fine, joint="curve")
        plane = np.linalg.lstsq(np.c_[outline[:, :2], np.ones(len(outline))], outline[:, 2], rcond=None)[0]
        plane = plane.astype(np.float32)
        hit = (np.asarray(cover) > 0) & (plane[0] * xs + plane[1] * ys + plane[2] > self.depth[rows, columns])
        y, x = np.nonzero(hit)
        vein_here = np.asarray(lines)[y, x].astype(np.float32) / 255
        share = (opacity + (0.75 - opacity) * vein_here)[:, None]
        sheen = (0.85 + 0.35 * np.sin((xs[0, x] + 0.6 * ys[y, 0]) / (0.09 * max(size)))) * (1 - 0.8 * vein_here)
        lit = np.asarray(tint, np.float32) * (self.light.ambient + np.float32(0.7) * self.light.colour)
        rgba = np.ones((len(y), 4), np.float32)
        np.minimum(sheen[:, None] * lit, 1, out=rgba[:, :3])
        below = self.pixels[rows, columns]
        below[y, x] = below[y, x] * (1 - share) + np.float32(255) * share * rgba

    def _shadow(self) -> Floats:
        """Return the share of the light (h, w, 1) that each pixel of the ground keeps."""
        height, width = self.depth.shape
        step, cell = (3, 4) if self.fine == 2 else (1, 2)  # a shadow is soft: half the picture's resolution will do
        y, x = np.nonzero(self.pixels[::step, ::step, 3] > 127)
        points = np.stack([x * step, y * step, self.depth[::step, ::step][y, x]], 1).astype(np.float32)
        up = self.light.ground[:, 2]
        above = np.maximum(points @ up, 0)[:, None]
        size = (-(-width // cell), -(-height // cell))
        kept = np.ones(size[::-1], np.float32)
        for towards, weight, blur in ((self.light.towards, 0.55, 1.3), (up, 0.3, 3.0)):
            fallen = ((points - above * towards / (towards @ up))[:, :2] / cell).astype(np.intp)
            fallen = fallen[((fallen >= 0) & (fallen < size)).all(1)]
            mask = np.zeros(size[::-1], np.uint8)
            mask[fallen[:, 1], fallen[:, 0]] = 255
            soft = Image.fromarray(mask).filter(ImageFilter.GaussianBlur(blur))
            kept -= weight * np.minimum(np.asarray(soft, np.float32) / 200, 1)
        whole = (width // self.fine, height // self.fine)
        return np.asarray(Image.fromarray(kept).resize(whole, Image.Resampling.BILINEAR))[..., None]

    def over(self, picture: Floats, shadow: bool = True) -> Floats:
        """Lay this layer on the picture (h, w, 3), which is changed."""
        sheet = Image.fromarray(self.pixels, "RGBX")
        box = sheet.getchannel("X").getbbox()
        if box is None:
            return picture
        sheet = sheet.reduce(self.fine) if self.fine > 1 else sheet.filter(ImageFilter.BoxBlur(0.45))
        if shadow:
            picture *= self._shadow()
        left, top = box[0] // self.fine, box[1] // self.fine
        right, bottom = -(-box[2] // self.fine), -(-box[3] // self.fine)
        part = picture[top:bottom, left:right]
        rgba = planes(sheet.crop((left, top, right, bottom)))
        part *= 1 - rgba[..., 3:]
        part += rgba[..., :3]
        return picture


def planes(image: Image.Image) -> Floats:
    """Return (h, w, channels) on the scale 0..1, each channel in one piece of memory, which is much faster."""
    planes = np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1), np.float32)
    planes *= np.float32(1 / 255)
    return planes.transpose(1, 2, 0)


class Body:
    """Places the parts of one animal: body axes are forward, left and up, the unit is the body's length."""

    def __init__(self, layer: Layer, slot: Slot, rng: Generator) -> None:
        self.layer, self.rng, self.length = layer, rng, slot.length
        cos, sin = math.cos(slot.heading), math.sin(slot.heading)
        turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]], np.float32)
        self.axes = np.asarray(layer.light.ground @ turn * slot.length, np.float32)
        up = layer.light.ground[:, 2]
        # The ground is the plane through the origin, so that all animals of a scene share it.
        self.origin = np.array([slot.x, slot.y, -(slot.x * up[0] + slot.y * up[1]) / up[2]], np.float32)

    def at(self, places: ArrayLike) -> Floats:
        """Return camera coordinates of places (..., 3) on the body."""
        return np.asarray(self.origin + np.asarray(places, np.float32) @ self.axes.T, np.float32)

    def part(
        self, centre: ArrayLike, radii: ArrayLike, paint: Paint, gloss: float = 0.3, pitch: float = 0, yaw: float = 0
    ) -> Callable[[Floats], Floats]:
        """Draw an ellipsoid; return the map from the unit ball (n, 3) to body coordinates."""
        cp, sp, cy, sy = math.cos(pitch), math.sin(pitch), math.cos(yaw), math.sin(yaw)
        turn = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]]) @ np.array([[cp, 0, -sp], [0, 1, 0], [sp, 0, cp]])
        local = np.asarray(turn * np.asarray(radii), np.float32)
        self.layer.ellipsoid(self.at(centre), self.axes @ local, paint, gloss)
        return lambda ball: np.asarray(np.asarray(centre, np.float32) + ball @ local.T, np.float32)

    def chains(self, places: ArrayLike, radii: Sequence[float], colour: Colour, gloss: float = 0.3) -> None:
        """Draw m limbs through n joints each (m, n, 3), with a radius at each joint."""
        self.layer.limbs(self.at(places), np.asarray(radii, np.float32) * np.float32(self.length), colour, gloss)

    def fur(self, surface: Callable[[Floats], Floats], paint: Paint, count: int, length: float, lean: float) -> None:
        """Grow hairs on a part, leaning backwards by `lean`."""
        ball = self.rng.standard_normal((count, 3)).astype(np.float32)
        ball /= np.linalg.norm(ball, axis=1, keepdims=True)
        ball = ball[(ball @ self.axes.T)[:, 2] > -0.3 * self.length]  # the others grow out of sight
        jitter = self.rng.standard_normal(ball.shape).astype(np.float32)
        roots = surface(ball * np.float32(0.97))
        outward = ball + jitter * np.float32(0.3) - np.array([lean, 0, 0], np.float32)
        tips = roots + outward * np.float32(length) * (np.float32(0.8) + jitter[:, 1:2] * np.float32(0.2))
        normals = (ball + jitter * np.float32(0.22)) @ (self.axes.T / np.float32(self.length))
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        albedo = paint(ball) if callable(paint) else np.asarray(paint, np.float32)
        colours = self.layer.shade(normals, albedo * (1 + jitter[:, :1] * np.float32(0.16)), 0.12)
        self.layer.hairs(self.at(roots), self.at(tips), colours)

    def legs(self, hips: Sequence[float], reach: float, knee: float, thick: float, colour: Colour, hip: float) -> None:
        """Draw three pairs of legs: hip, knee, ankle and claw; each joint also bends seen from above."""
        limbs = []
        for x, base, bend in zip(hips, (1.0, 1.75, 2.2), (-0.55, 0.35, 0.5), strict=True):
            for side in (-1, 1):
                angle, place = base + self.rng.normal(0, 0.2), (x, side * 0.035, hip)
                span = reach * (1.25 if base > 2 else 1.0) * self.rng.uniform(0.9, 1.1)
                places, turn = [place], bend * self.rng.uniform(0.4, 1.3)
                for share, height in ((0.12, hip * 0.9), (0.4, knee), (0.46, 0.035), (0.16, 0.012), (0.14, 0.005)):
                    step = span * share
                    place = (place[0] + step * math.cos(angle), place[1] + step * side * math.sin(angle), height)
                    places.append(place)
                    angle += turn if share > 0.3 else turn * 0.3
                limbs.append(places)
        self.chains(limbs, [thick * f for f in (1.3, 0.85, 1.2, 0.6, 0.45, 0.3)], colour)


def varied(rng: Generator, colour: Colour, spread: float = 0.12) -> Floats:
    """Return a colour near this one."""
    near = np.asarray(colour) * rng.uniform(1 - spread, 1 + spread) + rng.normal(0, 0.015, 3)
    return np.asarray(np.clip(near, 0.01, 1), np.float32)
