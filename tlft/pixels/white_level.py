"""Which grey value is white in images of more than eight bits: a camera's 12 bits lie in files of 16, nearly black."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tlft.config.data_schema import DataConfig
from tlft.pixels.decode import is_deep
from tlft.storage.files import atomic_write

log = logging.getLogger(__name__)

FULL = 65535
"""White of sixteen bits, which needs no word."""

_MAY_BE_DEEP = (".png", ".tif", ".tiff", ".pgm", ".ppm")
_MAX_SAMPLE_VALUE = 281  # a tag of TIFF 6.0
_DEPTHS = (8, 10, 12, 14, 16)


def find_white_level(files: Mapping[str, Path], config: DataConfig, cache: Path, workers: int) -> int | None:
    """Return the grey value that is white in a set of images; None for that of sixteen bits.

    With `data.white_level=auto` the least depth (8, 10, 12, 14, 16 bits) that has room for the largest value, which
    each file states in its own tags, or else has; files of eight bits, of floating-point numbers and with negative
    values do not count. What was looked at is remembered by digest.

    Args:
        files: a path for each file's SHA-256; one that cannot be read is left to whoever decodes it.
        config: has the level, if one is given.
        cache: where it is remembered.
        workers: threads that look.
    """
    if config.white_level != "auto":
        level = int(config.white_level)
        return None if level == FULL else level
    deep = {sha256: path for sha256, path in files.items() if path.suffix.lower() in _MAY_BE_DEEP}
    if not deep:
        return None
    memory = cache / "digests" / "largest_values.json"
    remembered = _read(memory)
    missing = [sha256 for sha256 in deep if sha256 not in remembered]
    with ThreadPoolExecutor(workers) as pool:
        remembered |= dict(zip(missing, pool.map(_largest, (deep[sha256] for sha256 in missing)), strict=True))
    if missing:
        atomic_write(memory, json.dumps(remembered).encode())
    largest = [value for sha256 in deep if (value := remembered[sha256])]
    if not largest or max(largest) > FULL:
        return None
    bits = next(bits for bits in _DEPTHS if max(largest) < 1 << bits)
    if (level := (1 << bits) - 1) == FULL:
        return None
    log.info(
        "data: white is %d (%d bits), since no value in %d grey images is above %d; data.white_level=%d takes all 16",
        *(level, bits, len(largest), max(largest), FULL),
    )
    return level


def _read(memory: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        remembered = json.loads(memory.read_text())
        if isinstance(remembered, dict):
            return remembered
    return {}


def _largest(path: Path) -> int:
    """Return the largest value of an image of more than eight bits; 0 of any other file."""
    try:
        if path.suffix.lower() == ".png" and _has_few_bits(path):
            return 0
        with Image.open(path) as image:
            if not is_deep(image) or image.mode == "F":
                return 0
            stated = getattr(image, "tag_v2", {}).get(_MAX_SAMPLE_VALUE)
            values = np.asarray(image)
    except Exception:  # which whoever decodes it says in words
        return 0
    if values.size == 0 or values.min() < 0:
        return 0
    largest = int(values.max())
    stated = stated[0] if isinstance(stated, tuple) and stated else stated  # one for each sample of a pixel
    return max(largest, stated) if isinstance(stated, int) else largest


def _has_few_bits(path: Path) -> bool:
    """Tell by its header alone (PNG, 11.2.1) that a file has at most eight bits, as nearly all have."""
    with path.open("rb") as file:
        header = file.read(25)
    return header[12:16] == b"IHDR" and header[24] <= 8
