"""Evaluation images with what every column said of them, those first about which the columns disagree most.

Files are looked for where the data may lie, and shown only if their bytes are those that the runs saw.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image, ImageOps

from analysis.correctness import PROBABILITY, Frames, by_image
from analysis.rows import Row

_EDGE = 320
_QUALITY = 72


@dataclass(frozen=True)
class Verdict:
    """What the networks of one column said of an image.

    Attributes:
        column: key of the column.
        predicted: what most of them said.
        right: share of the networks that were right, 0..1.
        networks: how many there are.
        probability: of the true class, all outputs competing, a mean over the networks, 0..1.
    """

    column: str
    predicted: str
    right: float
    networks: int
    probability: float


@dataclass(frozen=True)
class Photograph:
    """An evaluation image.

    Attributes:
        file: below the data's folder.
        disagreement: mean over pairs of columns of the difference of `right`, 0..1.
    """

    sha256: str
    file: str
    label: str
    verdicts: tuple[Verdict, ...]
    disagreement: float

    @property
    def right(self) -> float:
        """Mean share of the networks that were right, each column counting once."""
        return float(np.mean([verdict.right for verdict in self.verdicts]))


def compare_photographs(row: Row, columns: Sequence[str], frames: Frames) -> list[Photograph]:
    """Return the images that every column of a row saw, the most disputed first, then those that most got wrong."""
    by_column = {
        key: [by_image(frames[run]) for run in row.cells[key].run_ids]
        for key in columns
        if key in row.cells and all(run in frames for run in row.cells[key].run_ids)
    }
    by_column = {key: found for key, found in by_column.items() if found}
    if not by_column:
        return []
    every = [frame for found in by_column.values() for frame in found]
    images = [image for image in every[0].index if all(image in frame.index for frame in every[1:])]
    tables = {key: [frame.loc[images].to_dict("index") for frame in found] for key, found in by_column.items()}
    photographs = []
    for image in images:
        first = next(iter(tables.values()))[0][image]
        label = str(first["label"])
        verdicts = tuple(_verdict(key, label, [table[image] for table in found]) for key, found in tables.items())
        photographs.append(
            Photograph(str(first["sha256"]), str(first["file"]), label, verdicts, _disagreement(verdicts))
        )
    return sorted(photographs, key=lambda photograph: (-photograph.disagreement, photograph.right, photograph.file))


def _verdict(column: str, label: str, said: Sequence[Mapping[Any, Any]]) -> Verdict:
    names = [str(one["predicted"]) for one in said]
    (most, _), *_ = Counter(names).most_common(1)
    probabilities = [float(one[f"{PROBABILITY}{label}"]) for one in said]
    return Verdict(column, most, names.count(label) / len(names), len(names), float(np.mean(probabilities)))


def _disagreement(verdicts: Sequence[Verdict]) -> float:
    right = np.array([verdict.right for verdict in verdicts])
    pairs = len(right) * (len(right) - 1)
    return float(np.abs(right[:, None] - right[None, :]).sum() / pairs) if pairs else 0.0


def image_roots(configs: Sequence[str], home: Path) -> tuple[Path, ...]:
    """Return the folders in which the images of some runs may lie.

    Args:
        configs: each run's configuration (YAML); what is none counts nothing.
        home: whose data folder may hold them.
    """
    import yaml

    named = [os.environ.get("TLFT_HYMENOPTERA")]
    for text in dict.fromkeys(configs):
        with suppress(yaml.YAMLError, AttributeError):
            named.append((yaml.safe_load(text) or {}).get("data", {}).get("root"))
    folders = sorted((home / "data").glob("*")) if (home / "data").is_dir() else []
    return tuple(dict.fromkeys([*(Path(name).expanduser() for name in named if name), *folders]))


class Shown(Protocol):
    """What a picture can be drawn of: the name of an image below the data's folder, and its digest."""

    @property
    def file(self) -> str:
        """Its name, below the data's folder."""
        ...

    @property
    def sha256(self) -> str:
        """Of the file's bytes, 64 hex digits."""
        ...


def draw_thumbnails(photographs: Sequence[Shown], roots: Iterable[Path], budget: int) -> dict[str, str]:
    """Return SHA-256 -> a `data:` address of a small JPEG, for the first photographs that fit.

    Args:
        photographs: in the order in which they matter.
        roots: folders that the images' names may be relative to.
        budget: characters that all addresses together may have.
    """
    existing = [root for root in roots if root.is_dir()]
    drawn: dict[str, str] = {}
    for photograph in photographs:
        found = next((data for root in existing if (data := _bytes_of(root, photograph)) is not None), None)
        if found is None:
            continue
        address = _small(found)
        budget -= len(address)
        if budget < 0:
            break
        drawn[photograph.sha256] = address
    return drawn


def _bytes_of(root: Path, photograph: Shown) -> bytes | None:
    """Return the file's bytes if they are those that the runs saw."""
    path = root / photograph.file
    try:
        data = path.read_bytes() if path.resolve().is_relative_to(root.resolve()) else b""
    except OSError:
        return None
    return data if hashlib.sha256(data).hexdigest() == photograph.sha256 else None


def _small(data: bytes) -> str:
    with Image.open(io.BytesIO(data)) as opened:
        opened.draft("RGB", (2 * _EDGE, 2 * _EDGE))
        image = ImageOps.exif_transpose(opened).convert("RGB")
    image.thumbnail((_EDGE, _EDGE), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()
