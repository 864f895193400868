"""The first decoding of many images, beside a bare pool of threads that decode and scale with Pillow."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench.pairs import Comparison, Figure, Side, Sizes
from bench.photographs import copy_photographs, write_jpegs
from bench.processes import side, told_time


def comparisons() -> Iterator[Comparison]:
    """Yield the one that there is."""
    meaning = (
        "10,000 JPEGs of about 40 kB, decoded for the first time and kept for all runs: a pool of as many threads that "
        "decodes and scales them with Pillow, and keeps nothing"
    )
    yield Comparison([Figure("decode/share_of_pillow_pool", "pillow_pool", "pixel_store", meaning, 0.85)], _prepare)


def _prepare(folder: Path, sizes: Sizes) -> Mapping[str, Side]:
    jpegs, cache = folder / "jpegs", folder / "cache"
    write_jpegs(copy_photographs(folder / "photographs", sizes.photographs), jpegs, sizes.jpegs)

    def pixel_store(_: int) -> float:
        shutil.rmtree(cache, ignore_errors=True)
        seconds = told_time(side("decoding", "pixel_store", jpegs, cache), folder)
        shutil.rmtree(cache)
        return seconds

    return {
        "pixel_store": pixel_store,
        "pillow_pool": lambda _: told_time(side("decoding", "pillow_pool", jpegs, cache), folder),
    }
