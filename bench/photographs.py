"""The images of the comparisons: the reference photographs alone, and many JPEGs that are made of them."""

from __future__ import annotations

import io
import itertools
import os
import shutil
from pathlib import Path

from PIL import Image

from tlft.config.paths import home_folder
from tlft.errors import TlftError

JPEG_BYTES = 44_000
"""No JPEG has more; on average they have about 40 kB."""


def copy_photographs(to: Path, each: int | None = None, training: int | None = None) -> Path:
    """Copy the reference photographs, without what else lies there.

    Args:
        to: a folder that is not there yet.
        each: how many of each class and split; None for all.
        training: how many of each class to train on; None for `each`.

    Raises:
        TlftError: if they are not on this machine.
    """
    root = Path(os.environ.get("TLFT_HYMENOPTERA") or home_folder() / "data" / "hymenoptera_data")
    if not root.is_dir():
        raise TlftError(f"{root}: no reference photographs; set TLFT_HYMENOPTERA, or fetch them with a first run")
    for split, name in itertools.product(("train", "val"), ("ants", "bees")):
        (to / split / name).mkdir(parents=True)
        found = [path for path in (root / split / name).iterdir() if path.suffix in (".jpg", ".jpeg")]
        for path in sorted(found)[: training or each if split == "train" else each]:
            shutil.copy(path, to / split / name)
    return to


def count_training(photographs: Path) -> int:
    """Count the training images."""
    return sum(path.is_file() for path in (photographs / "train").rglob("*"))


def write_jpegs(photographs: Path, to: Path, count: int) -> None:
    """Write so many JPEGs, no two of the same bytes: the photographs again and again, with a number as a comment."""
    to.mkdir()
    originals = [_smaller(path) for path in sorted(photographs.rglob("*.jp*g"))]
    for number, data in zip(range(count), itertools.cycle(originals), strict=False):
        comment = f"{number:08d}".encode()
        segment = b"\xff\xfe" + (2 + len(comment)).to_bytes(2, "big") + comment
        (to / f"{number:08d}.jpg").write_bytes(data[:2] + segment + data[2:])


def _smaller(path: Path) -> bytes:
    """Return a photograph as a JPEG of at most `JPEG_BYTES`, of the best quality that allows it."""
    image, data = Image.open(path).convert("RGB"), b""
    for quality in range(95, 20, -5):
        buffer = io.BytesIO()
        image.save(buffer, "jpeg", quality=quality)
        data = buffer.getvalue()
        if len(data) <= JPEG_BYTES:
            break
    return data
