"""Body plans: an ant and a bee, with the species, colours and poses that they come in.

Nothing in here knows the scene: an animal draws from a generator of its own.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator

from tlft.synthetic.solids import Body, Colour, Floats, Layer, Slot, varied


def draw_ant(layer: Layer, slot: Slot, rng: Generator) -> None:
    """Draw an ant: black, brown, red or amber, one or two nodes in its waist, any gait."""
    shades = ((0.05, 0.045, 0.045), (0.17, 0.09, 0.05), (0.4, 0.14, 0.06), (0.62, 0.34, 0.12))
    body = Body(layer, slot, rng)
    front = varied(rng, shades[rng.choice(4, p=(0.35, 0.25, 0.27, 0.13))])
    rear = front if rng.random() < 0.6 else front * np.float32(rng.uniform(0.25, 0.6))
    limbs = front * np.float32(rng.uniform(0.75, 1.15))
    gloss, stout, lift = rng.uniform(0.5, 1.0), rng.uniform(0.9, 1.15), rng.uniform(0.0, 0.05)
    sway = rng.normal(0, 0.25)
    body.legs((0.12, 0.05, -0.01), 0.52, 0.26, 0.016, limbs, 0.13)

    def segments(ball: Floats) -> Floats:
        seam = np.abs(((ball[:, :1] + 1.1) * 2.2) % 1 - 0.5) > 0.44
        return np.asarray(rear * np.where(seam, 1.35, 1.0) + np.where(seam, 0.015, 0.0), np.float32)

    cos, sin = math.cos(sway), math.sin(sway)
    gaster = body.part(
        (-0.13 - 0.21 * cos, -0.21 * sin, 0.17 + lift), (0.2, 0.125 * stout, 0.12 * stout), segments, gloss, 0, sway
    )
    body.fur(gaster, varied(rng, (0.6, 0.5, 0.35)), 70, 0.025, 0.8)
    for k in range(int(rng.integers(1, 3))):
        body.part((-0.105 - 0.045 * k, -0.03 * sin * k, 0.16), (0.028, 0.032, 0.05), front, gloss)
    body.part((0.0, 0, 0.165), (0.105, 0.05 * stout, 0.052), front, gloss * 0.7, -0.15)
    body.part((0.115, 0, 0.185), (0.085, 0.062 * stout, 0.06), front, gloss * 0.8, 0.1)
    body.chains([[(0.17, 0, 0.18), (0.24, 0, 0.18)]], (0.03, 0.03), front)
    _draw_ant_head(body, front, limbs, gloss)


def _draw_ant_head(body: Body, colour: Floats, limbs: Floats, gloss: float) -> None:
    rng = body.rng
    turn = rng.normal(0, 0.2)
    cos, sin = math.cos(turn), math.sin(turn)

    def from_neck(forward: float, left: float, up: float) -> tuple[float, float, float]:
        return 0.2 + forward * cos - left * sin, forward * sin + left * cos, up

    body.part(from_neck(0.1, 0, 0.18), (0.105, 0.1, 0.07), colour, gloss, -0.2, turn)
    body.part(from_neck(0.05, 0, 0.185), (0.07, 0.108, 0.065), colour, gloss, -0.1, turn)
    gape = rng.uniform(0.01, 0.05)
    jaws, antennae = [], []
    for side in (-1, 1):
        body.part(from_neck(0.1, side * 0.088, 0.2), (0.026, 0.017, 0.024), (0.02, 0.02, 0.02), 1.0, 0, turn)
        jaw = ((0.18, 0.05, 0.15), (0.24, 0.05 + gape, 0.14), (0.285, gape, 0.13))
        jaws.append([from_neck(forward, side * left, up) for forward, left, up in jaw])
        elbow, bend, up = rng.uniform(0.13, 0.24), rng.uniform(-0.08, 0.1), rng.uniform(0.2, 0.3)
        knee, tip = (0.34, elbow + bend / 2 + 0.02, up - 0.03), (0.46, elbow + bend, up - 0.12)
        path = ((0.16, 0.045, 0.22), (0.25, elbow, up), knee, tip)
        antennae.append([from_neck(forward, side * left, up) for forward, left, up in path])
    body.chains(jaws, (0.02, 0.017, 0.007), limbs, gloss)
    body.chains(antennae, (0.012, 0.0125, 0.011, 0.015), limbs)


FOREWING = np.stack(
    [
        (0.0, 0.1, 0.35, 0.62, 0.85, 0.97, 1.0, 0.93, 0.78, 0.6, 0.35, 0.12),
        (0.0, 0.03, 0.06, 0.06, 0.04, -0.02, -0.1, -0.2, -0.27, -0.27, -0.18, -0.06),
    ],
    axis=1,
)
"""Outline (12, 2): along the wing and across it, in wing lengths."""

VEINS = (
    ((0, 0), (0.3, 0.0), (0.62, 0.03)),
    ((0.05, -0.02), (0.35, -0.08), (0.55, -0.1), (0.62, 0.03)),
    ((0.35, -0.08), (0.36, 0.0)),
    ((0.55, -0.1), (0.72, -0.14), (0.8, -0.25)),
    ((0.62, 0.03), (0.74, -0.03), (0.72, -0.14)),
    ((0.3, -0.07), (0.42, -0.2)),
    ((0.55, -0.1), (0.54, -0.25)),
)


def _draw_wings(body: Body, opening: float, lift: float, tint: Colour, opacity: float) -> None:
    """Draw two pairs; `opening` is the angle in radians between a wing and the body's rear."""
    for side in (-1, 1):
        spread = opening + body.rng.normal(0, 0.06)
        for size, turn, x, z in ((0.45, 0.25, 0.0, 0.33), (0.66, 0.0, 0.08, 0.36)):
            angle = spread - turn * min(opening, 1)
            along = np.array([-math.cos(angle), side * math.sin(angle), lift])
            across = np.array([math.sin(angle), side * math.cos(angle), lift * 0.6])
            root = np.array([x, side * 0.09, z])
            flat = [np.asarray(points) * size for points in (FOREWING, *VEINS)]
            outline, *veins = (body.at(root + line[:, :1] * along + line[:, 1:] * across) for line in flat)
            body.layer.film(outline, veins, tint, opacity)


def draw_bee(layer: Layer, slot: Slot, rng: Generator) -> None:
    """Draw a honey bee, a bumble bee or a dark bee, with or without pollen, wings folded or open."""
    body = Body(layer, slot, rng)
    species = rng.choice(("honey", "honey", "honey", "bumble", "dark"))
    black = varied(rng, (0.07, 0.05, 0.04))
    bright = varied(rng, {"honey": (0.85, 0.5, 0.12), "bumble": (0.95, 0.75, 0.12), "dark": (0.5, 0.3, 0.12)}[species])
    hair = varied(rng, {"honey": (0.75, 0.56, 0.3), "bumble": (0.9, 0.7, 0.15), "dark": (0.62, 0.4, 0.18)}[species])
    tail = np.asarray((0.92, 0.9, 0.84) if rng.random() < 0.7 else bright, np.float32)
    bumble = species == "bumble"
    fat = rng.uniform(1.15, 1.3) if bumble else rng.uniform(0.9, 1.05)
    bands, phase = rng.uniform(2.3, 3.0), rng.uniform(0, 1)

    def stripes(ball: Floats) -> Floats:
        x = ball[:, :1] + 0.1 * ball[:, 1:2] ** 2
        if bumble:
            return np.where(x < -0.55, tail, np.where((x > 0.1) & (x < 0.6), bright, black))
        wave = np.clip(((x * bands + phase) % 1 - 0.5) * 12, -1, 1) / 2 + 0.5
        wave = wave * np.clip((x + 1.0) * 2.2, 0, 1)
        return np.asarray(black + (bright - black) * wave, np.float32)

    leg = varied(rng, (0.25, 0.15, 0.08))
    body.legs((0.16, 0.07, -0.02), 0.36, 0.19, 0.022, leg, 0.14)
    if rng.random() < 0.5:
        pollen = varied(rng, (0.95, 0.68, 0.12))
        for side in (-1, 1):
            body.part((-0.2, side * 0.22, 0.12), (0.065, 0.035, 0.05), pollen, 0.05, 0, side * 0.5)
    droop = rng.uniform(-0.05, 0.2)
    abdomen = body.part((-0.3, 0, 0.22 - droop * 0.25), (0.29, 0.165 * fat, 0.15 * fat), stripes, 0.45, droop)
    body.part(
        (-0.49, 0, 0.22 - droop * 0.33),
        (0.13, 0.1 * fat, 0.095 * fat),
        lambda ball: stripes(ball * np.float32(0.45) - np.array([0.65, 0, 0], np.float32)),
        0.45,
        droop,
    )
    thorax = body.part((0.07, 0, 0.25), (0.165, 0.15 * fat, 0.14 * fat), hair * np.float32(0.6), 0.05)
    _draw_bee_head(body, hair, black)
    if bumble:
        body.fur(abdomen, stripes, 2400, 0.035, 0.9)
    else:
        body.fur(abdomen, lambda ball: stripes(ball) * 0.7 + hair * np.float32(0.3), 1300, 0.02, 0.9)
    collar = varied(rng, black if bumble else hair)
    body.fur(thorax, lambda b: np.where(np.abs(b[:, :1] - 0.05) < 0.4, collar, hair), 3000, 0.06, 0.3)
    opening = rng.uniform(0.25, 0.6) if rng.random() < 0.55 else rng.uniform(0.7, 1.25)
    tint = varied(rng, (0.85, 0.8, 0.7) if rng.random() < 0.7 else (0.5, 0.38, 0.25))
    _draw_wings(body, opening, rng.uniform(0.02, 0.25), tint, rng.uniform(0.18, 0.38))


def _draw_bee_head(body: Body, hair: Floats, black: Floats) -> None:
    rng = body.rng
    face = body.part((0.28, 0, 0.21), (0.085, 0.125, 0.105), black * np.float32(1.5), 0.2, -0.3)
    body.fur(face, hair * np.float32(0.85), 600, 0.035, 0)
    antennae = []
    for side in (-1, 1):
        body.part((0.295, side * 0.092, 0.225), (0.06, 0.048, 0.088), (0.035, 0.025, 0.02), 1.0, -0.3, side * -0.25)
        out = rng.uniform(0.07, 0.14)
        antennae.append([(0.36, side * 0.03, 0.24), (0.42, side * out * 0.8, 0.29), (0.52, side * (out + 0.04), 0.22)])
    body.chains(antennae, (0.012, 0.012, 0.014), black)
