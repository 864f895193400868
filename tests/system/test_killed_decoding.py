"""Processes that decode are killed at random moments, until all is decoded: what they left is whole and is used."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import draw_folder

from tlft.config.paths import PROJECT
from tlft.pixels.decode import load_image
from tlft.pixels.pixel_store import decode_all, resize_and_crop
from tlft.pixels.transforms import Transform
from tlft.storage.files import sha256_of
from tlft.storage.records import open_store, shards_of

TRANSFORM = Transform(64, 56, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

DECODE = """
import os
import sys
from pathlib import Path
from tlft.pixels import pixel_store
from tlft.pixels.transforms import Transform
from tlft.storage import records
from tlft.storage.files import sha256_of

records.LARGEST_SHARD = 60_000
load_scaled = pixel_store.load_scaled

def counted(path, *others):
    os.write(1, f"{path}\\n".encode())  # at once, among other threads
    return load_scaled(path, *others)

pixel_store.load_scaled = counted
files = {sha256_of(path): path for path in sorted(Path(sys.argv[1]).rglob("*.png"))}
transform = Transform(64, 56, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
pixel_store.decode_all(files, transform, Path(sys.argv[2]))
"""


def start(folder: Path, cache: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", DECODE, folder, cache], stdout=subprocess.PIPE, text=True, cwd=PROJECT
    )


@pytest.mark.parametrize("number", range(3))
def test_killed_decoders_leave_what_is_whole(tmp_path: Path, number: int) -> None:
    random_ = random.Random(number)
    folder, cache = draw_folder(tmp_path / "insects", train=40, evaluation=20), tmp_path / "cache"
    decoded: list[str] = []
    kills = 0
    while True:
        others = [start(folder, cache) for _ in range(2)]  # at once: one decodes, the other waits or goes on
        if kills < 5:
            first = others[0].stdout
            assert first is not None
            decoded += [first.readline()]
            time.sleep(random_.uniform(0, 0.05))
            for process in random_.choice((others, others[:1], others[1:])):
                process.kill()
                kills += 1
        said = [process.communicate()[0] for process in others]
        decoded += "".join(said).splitlines()
        if all(process.returncode == 0 for process in others):
            break
    files = {sha256_of(path): path for path in sorted(folder.rglob("*.png"))}
    assert len(files) == 120
    assert len([line for line in decoded if line.strip()]) <= 120 + kills * 45  # a shard that was open, and what waits
    open_store.cache_clear()
    images = decode_all(files, TRANSFORM, cache)
    (store,) = (path for path in cache.iterdir() if path.is_dir())
    assert {path.name for path in store.iterdir()} == {shard.name for shard in shards_of(store)}
    for digest, path in files.items():
        assert np.array_equal(images.pixels.centre(images.rows[digest]), resize_and_crop(load_image(path), TRANSFORM))


def test_processes_that_ask_at_once_decode_once(tmp_path: Path) -> None:
    folder, cache = draw_folder(tmp_path / "insects", train=40, evaluation=20), tmp_path / "cache"
    processes = [start(folder, cache) for _ in range(3)]
    said = "".join(process.communicate()[0] for process in processes)
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len(said.splitlines()) == len(set(said.splitlines())) == 120
