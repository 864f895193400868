"""Decode a folder of JPEGs: `python -m bench.sides.decoding pixel_store|pillow_pool FOLDER CACHE`.

With one thread a core. Before the clock starts every file is read once, for its digest, by both sides.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from bench.sides.epochs import CROP, MEAN, RESIZE, STD
from bench.sides.telling import say
from tlft.pixels.pixel_store import decode_images
from tlft.pixels.transforms import Transform
from tlft.runtime.device import available_threads
from tlft.storage.files import sha256_of


def scale(path: Path) -> int:
    """Decode and scale an image, and drop it: the pixels of 10,000 fill no memory."""
    with Image.open(path) as image:
        short = min(image.size)
        width, height = (side * RESIZE // short for side in image.size)
        return image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR).width


def main(kind: str, folder: Path, cache: Path) -> float:
    """Return the seconds that one side takes."""
    files: Mapping[str, Path] = {sha256_of(path): path for path in sorted(folder.iterdir())}
    workers = available_threads()
    started = time.perf_counter()
    if kind == "pixel_store":
        decoded = decode_images(files, Transform(RESIZE, CROP, "bilinear", MEAN, STD), cache, workers=workers)
        assert len(decoded.rows) == len(files)
    else:
        with ThreadPoolExecutor(workers) as pool:
            assert sum(1 for _ in pool.map(scale, files.values())) == len(files)
    return time.perf_counter() - started


if __name__ == "__main__":
    say(main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))
