"""Which grey value is white in images of more than eight bits: a camera's 12 bits lie in files of 16, nearly black."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tlft.config.data_schema import DataConfig
from tlft.pixels.decode import FULL_WHITE, is_deep, stated_white
from tlft.pixels.transforms import White
from tlft.storage.files import atomic_write

log = logging.getLogger(__name__)

_MAY_BE_DEEP = (".png", ".tif", ".tiff", ".pgm", ".ppm")
_DEPTHS = (8, 10, 12, 14, 16)


def find_white(files: Mapping[str, Path], config: DataConfig, cache: Path, workers: int) -> White:
    """Return what is white in a set of images.

    With `data.white_level=auto` what a file states in its own tag, unless it has larger values; of the others the least
    depth (8, 10, 12, 14, 16 bits) that has room for their largest value. Files of eight bits, of floating-point numbers
    and with negative values do not count. What was looked at is remembered by digest.

    Args:
        files: a path for each file's SHA-256; one that cannot be read is left to whoever decodes it.
        config: has the level, if one is given.
        cache: where it is remembered.
        workers: threads that look.
    """
    if config.white_level != "auto":
        return White(_unless_full(int(config.white_level)))
    deep = {sha256: path for sha256, path in files.items() if path.suffix.lower() in _MAY_BE_DEEP}
    if not deep:
        return White()
    memory = cache / "digests" / "white_values.json"
    remembered = _read(memory)
    missing = [sha256 for sha256 in deep if sha256 not in remembered]
    with ThreadPoolExecutor(workers) as pool:
        remembered |= dict(zip(missing, pool.map(_look, (deep[sha256] for sha256 in missing)), strict=True))
    if missing:
        atomic_write(memory, json.dumps(remembered).encode())
    return _decide([remembered[sha256] for sha256 in deep])


def _decide(values: Sequence[tuple[int, int]]) -> White:
    """Return what is white in images of which each has a largest value and states one, or 0; and say it."""
    stated = {stated for largest, stated in values if stated >= largest > 0}
    unstated = [largest for largest, stated in values if largest > stated]
    of_all = max(largest for largest, _ in values) if unstated else max(stated, default=0)
    if not of_all:
        return White()
    bits = next((bits for bits in _DEPTHS if of_all < 1 << bits), None)
    level = None if bits is None else _unless_full((1 << bits) - 1)
    by_tags = bool(stated - {level or FULL_WHITE})
    if by_tags:
        log.info("data: white is what the tags of some images say: %s", ", ".join(map(str, sorted(stated))))
    if level is not None and unstated:
        log.info(
            "data: white is %d (%d bits), since no value in %d grey images is above %d; data.white_level=%d takes all "
            "16",
            *(level, bits, len(unstated), of_all, FULL_WHITE),
        )
    return White(level, by_tags)


def _unless_full(level: int) -> int | None:
    return None if level == FULL_WHITE else level


def _read(memory: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        remembered = json.loads(memory.read_text())
        if isinstance(remembered, dict):
            return remembered
    return {}


def _look(path: Path) -> tuple[int, int]:
    """Return the largest value of an image of more than eight bits, and what its tag states; 0 of any other file."""
    try:
        if path.suffix.lower() == ".png" and _has_few_bits(path):
            return 0, 0
        with Image.open(path) as image:
            if not is_deep(image) or image.mode == "F":
                return 0, 0
            stated = stated_white(image) or 0
            values = np.asarray(image)
    except Exception:  # which whoever decodes it says in words
        return 0, 0
    return (int(values.max()), stated) if values.size and values.min() >= 0 else (0, 0)


def _has_few_bits(path: Path) -> bool:
    """Tell by its header alone (PNG, 11.2.1) that a file has at most eight bits, as nearly all have."""
    with path.open("rb") as file:
        header = file.read(25)
    return header[12:16] == b"IHDR" and header[24] <= 8
