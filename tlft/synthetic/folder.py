"""The embedded data set: scenes are drawn from a seed, and ants or bees are modelled in three dimensions on them.

No torch in here, and no scene may depend on which animal will stand in it: the two draw from separate generators.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator, default_rng
from PIL import Image, ImageFilter

from tlft.config.paths import PROJECT
from tlft.errors import TlftError
from tlft.storage.locks import locked
from tlft.synthetic.insects import draw_ant, draw_bee
from tlft.synthetic.scenery import GROUNDS, KINDS, draw_light, scatter
from tlft.synthetic.solids import Floats, Layer, Light, Slot, planes
from tlft.terminal.progress import progress

log = logging.getLogger(__name__)

VERSION = 1
"""Counts up whenever the same seed would give other pixels."""

CLASSES = ("ants", "bees")
COUNTS = {"train": {"ants": 123, "bees": 121}, "val": {"ants": 70, "bees": 83}}
"""Images per split and class: as many as the photographs have."""

_SCENE, _ANIMAL = 0, 1  # streams of random numbers
_LABELS = 4  # of the streams 2 to 11, the one whose lots, at seed 0, chance itself makes lean least to either class


def _draw_slots(rng: Generator, width: int, height: int, light: Light) -> list[Slot]:
    """Choose where animals stand, before anyone knows which animals."""
    count = int(rng.choice((1, 2, 3), p=(0.78, 0.15, 0.07)))
    slots: list[Slot] = []
    for _ in range(40):
        length = min(width, height) * rng.uniform(0.42, 0.78) / (1 + 0.35 * (count - 1))
        free = 0.52 * length  # so that hardly anything is cut off
        x, y = rng.uniform(free, width - free), rng.uniform(free, height - free)
        heading = rng.uniform(0, 2 * math.pi)
        if light.ground[2, 2] < 0.8:  # seen from the side, it shows its side
            heading = rng.choice((0, math.pi)) + rng.normal(0, 0.45)
        if all(math.hypot(x - s.x, y - s.y) > 0.5 * (length + s.length) for s in slots):
            slots.append(Slot(x, y, length, heading))
        if len(slots) == count:
            break
    return slots


def draw_scene(seed: int, index: int, animal: str | None) -> Image.Image:
    """Draw one scene of the data set with `ants`, `bees`, or, for None, nothing where they would stand."""
    rng = default_rng([seed, index, _SCENE])
    sizes = ((288, 252), (288, 216), (288, 192), (264, 264), (226, 288), (288, 230))
    width, height = rng.choice(sizes).tolist()
    light = draw_light(rng)
    slots = _draw_slots(rng, width, height, light)
    paint, things = GROUNDS[KINDS[index // 2 % len(KINDS)]]
    picture = paint(rng, height, width, light)
    clutter = Layer(width, height, light, fine=1)
    scatter(rng, clutter, picture, things)
    for k, factor in enumerate(light.ambient + light.colour * np.float32(0.75)):
        picture[..., k] *= factor
    picture = _focused(rng, clutter.over(picture), slots[0].y)
    if animal is not None:
        animals = default_rng([seed, index, _ANIMAL])
        layer = Layer(width, height, light)
        for slot in slots:
            (draw_ant if animal == "ants" else draw_bee)(layer, slot, animals)
        picture = layer.over(picture)
    return _developed(rng, picture)


def _focused(rng: Generator, picture: Floats, row: float) -> Floats:
    """Blur what lies far from the row (in pixels) that the camera is focused on."""
    height, width = picture.shape[:2]
    away = np.abs(np.arange(height, dtype=np.float32) - row) / height * 2.2 - rng.uniform(0.2, 0.35)
    share = np.clip(away * rng.uniform(0.3, 1.6), 0, 1)[:, None, None]
    small = Image.fromarray((np.clip(picture, 0, 1) * 255).astype(np.uint8)).reduce(2)
    small = small.filter(ImageFilter.GaussianBlur(rng.uniform(2, 5) / 2))
    soft = planes(small.resize((width, height), Image.Resampling.BILINEAR))
    return np.asarray(picture * (1 - share) + soft * share, np.float32)


def _developed(rng: Generator, picture: Floats) -> Image.Image:
    """Make a photograph: vignette, exposure, soft highlights, less colour, blur, noise."""
    height, width = picture.shape[:2]
    ys, xs = np.ogrid[-0.5 : 0.5 : height * 1j, -0.5 : 0.5 : width * 1j]
    dim = ((1 - rng.uniform(0, 0.9) * (xs**2 + ys**2)) * rng.uniform(0.85, 1.15)).astype(np.float32)
    picture *= dim[..., None]
    bright = np.maximum(picture - np.float32(0.7), 0)
    picture -= bright
    picture += bright / (1 + bright / np.float32(0.3))
    grey = picture[..., 1:2].copy()
    picture -= grey
    picture *= np.float32(rng.uniform(0.75, 1.0))
    radius, strength = rng.uniform(0, 0.45), np.float32(rng.uniform(0.003, 0.018))
    picture += grey + strength * rng.standard_normal((height, width, 1), np.float32)
    picture *= 255
    np.clip(picture, 0, 255, out=picture)
    return Image.fromarray(picture.astype(np.uint8)).filter(ImageFilter.BoxBlur(radius))


_KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "1000000000", "MALLOC_TRIM_THRESHOLD_": "2000000000"}
"""Tells glibc not to give freed arrays back to the system, which costs a seventh of the time."""


@dataclass(frozen=True)
class Scene:
    """One image of the data set: its file below the folder, its scene, and the animal in it."""

    file: str
    index: int
    animal: str


def list_scenes(seed: int) -> list[Scene]:
    """Return every image of the data set, which animal is in it being drawn by lot.

    Of the scenes 2k and 2k + 1, which have the same kind of ground, one has ants and one has bees, so that no
    ground has more of one class; only the scenes that one class has more are left over.
    """
    rng = default_rng([seed, _LABELS])
    scenes: list[Scene] = []
    for split, counts in COUNTS.items():
        pairs = min(counts.values())
        animals = [name for _ in range(pairs) for name in rng.permutation(CLASSES).tolist()]
        animals += [name for name in CLASSES for _ in range(counts[name] - pairs)]
        for position, animal in enumerate(animals):
            number = animals[: position + 1].count(animal)
            scenes.append(Scene(f"{split}/{animal}/{number:04d}.jpg", len(scenes), animal))
    return scenes


ORIGIN = "drawn by tlft, so that no pretrained network has seen the images"


def synthetic_folder(home_data: Path, seed: int = 0, workers: int = 2) -> Path:
    """Return the folder of drawn images, drawing them if nobody has yet; processes that ask at once draw once.

    The seed chooses the scenes, the animals, and which is in which; the images do not depend on the workers.

    Raises:
        TlftError: if the images cannot be written.
    """
    target = home_data / f"synthetic-{VERSION}-{seed}"
    if target.is_dir():
        return target
    partial = home_data / f".{target.name}.partial"
    try:
        home_data.mkdir(parents=True, exist_ok=True)
        with locked(home_data / f".{target.name}.lock"):
            if not target.is_dir():
                shutil.rmtree(partial, ignore_errors=True)  # what a killed process left
                _draw_folder(partial, seed, workers)
                partial.rename(target)
    except OSError as error:
        raise TlftError(f"{target}: cannot be written ({error}); free 50 MB there, or set paths.home") from None
    return target


def _draw_folder(folder: Path, seed: int, workers: int) -> None:
    """Draw in processes of their own: threads would wait for each other."""
    scenes = list_scenes(seed)
    for parent in {(folder / scene.file).parent for scene in scenes}:
        parent.mkdir(parents=True)
    paths = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1", **_KEEP_MEMORY}
    command = [sys.executable, "-m", "tlft.synthetic.folder", str(seed), str(folder)]
    shares = [[f"{scene.index} {scene.file}" for scene in scenes[k::workers]] for k in range(workers)]
    reports, write_end = os.pipe()
    processes = [
        subprocess.Popen(
            [*command, *share], env=environment, stdin=subprocess.DEVNULL, stdout=write_end, start_new_session=True
        )
        for share in shares
    ]
    os.close(write_end)
    try:
        with os.fdopen(reports) as lines, progress("drawing ants and bees", len(scenes), "images") as advance:
            for _ in lines:
                advance()
        if any(process.wait() for process in processes):
            raise TlftError(f"{folder}: drawing the images failed, for the reason above; run it again")
    finally:
        for process in processes:
            process.kill()
            process.wait()
    log.info("data: drew %d images of ants and bees (seed %d)", len(scenes), seed)


def _draw_share() -> None:
    """Draw the scenes that the command line lists, and report each by an empty line."""
    seed, folder, *share = sys.argv[1:]
    for scene in share:
        index, file = scene.split()
        path = Path(folder, file)
        draw_scene(int(seed), int(index), path.parent.name).save(path, quality=92, subsampling=0)
        print(flush=True)


if __name__ == "__main__":
    try:
        _draw_share()
    except OSError as error:
        sys.exit(f"failed: {error}")
