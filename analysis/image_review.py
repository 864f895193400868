"""Evaluation images with what every column predicts for them, those first about which the columns disagree most.

Files are looked for where the data may lie, and shown only if their bytes are those that the runs saw.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import yaml
from pandas import DataFrame
from PIL import Image

from analysis.correctness import Frames, common_images, index_by_image
from analysis.rows import Row
from tlft.data.decode import upright
from tlft.names import PROBABILITY
from tlft.runtime.files import path_of

_EDGE = 320  # pixels


@dataclass(frozen=True)
class Verdict:
    """What the networks of one column predict for an image.

    Attributes:
        predicted: the class that most of them predict.
        right: share of the networks that were right, 0..1.
        probability: of the true class, all outputs competing, a mean over the networks, 0..1.
    """

    column: str
    predicted: str
    right: float
    networks: int
    probability: float


@dataclass(frozen=True)
class Photograph:
    """An evaluation image; `disagreement` is the mean over pairs of columns of the difference of `right`, 0..1."""

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
        key: [index_by_image(frames[run_id]) for run_id in row.cells[key].run_ids]
        for key in columns
        if frames.keys() >= set(row.cells[key].run_ids)
    }
    if not by_column:
        return []
    all_frames = list(chain.from_iterable(by_column.values()))
    images = common_images(all_frames)
    first = all_frames[0].loc[images, ["sha256", "file", "label"]]
    answers = {
        key: list(zip(*(_answers(frame.loc[images], first["label"]) for frame in group), strict=True))
        for key, group in by_column.items()
    }
    photographs = []
    for place, (digest, file, label) in enumerate(first.itertuples(index=False)):
        verdicts = tuple(_verdict(key, label, networks[place]) for key, networks in answers.items())
        photographs.append(Photograph(digest, file, label, verdicts, _disagreement(verdicts)))
    return sorted(photographs, key=lambda photograph: (-photograph.disagreement, photograph.right, photograph.file))


def _answers(frame: DataFrame, labels: Iterable[str]) -> Iterator[tuple[str, float]]:
    """Return for each image what a network predicts, and the probability that it gives to the image's label."""
    columns = [name for name in frame.columns if name.startswith(PROBABILITY)]
    places = {name.removeprefix(PROBABILITY): place for place, name in enumerate(columns)}
    at = [places[label] for label in labels]
    probabilities = frame[columns].to_numpy()[np.arange(len(at)), at]
    return zip(map(str, frame["predicted"]), probabilities.tolist(), strict=True)


def _verdict(column: str, label: str, answers: Sequence[tuple[str, float]]) -> Verdict:
    names, probabilities = zip(*answers, strict=True)
    (most, _), *_ = Counter(names).most_common(1)
    return Verdict(column, most, names.count(label) / len(names), len(names), float(np.mean(probabilities)))


def _disagreement(verdicts: Sequence[Verdict]) -> float:
    right = np.array([verdict.right for verdict in verdicts])
    pairs = len(right) * (len(right) - 1)
    return float(np.abs(right[:, None] - right[None, :]).sum() / pairs) if pairs else 0.0


def image_roots(configs: Sequence[str], home: Path) -> tuple[Path, ...]:
    """Return folders in which the images of some runs may lie: those of their configurations (YAML), and of a home."""
    roots = [os.environ.get("TLFT_HYMENOPTERA")]
    for text in dict.fromkeys(configs):
        with suppress(yaml.YAMLError, AttributeError):
            roots.append((yaml.safe_load(text) or {}).get("data", {}).get("root"))
    folders = sorted((home / "data").glob("*"))
    return tuple(dict.fromkeys([*(Path(root).expanduser() for root in roots if root), *folders]))


def draw_thumbnails(files: Iterable[tuple[str, str]], roots: Iterable[Path], budget: int) -> dict[str, str]:
    """Return SHA-256 -> a `data:` address of a small JPEG, for the first images that fit.

    Args:
        files: name and SHA-256 of each image, in the order in which they matter.
        roots: folders that the names may be relative to.
        budget: characters that all addresses together may have.
    """
    existing = [root for root in roots if root.is_dir()]
    addresses: dict[str, str] = {}
    for file, digest in files:
        data = next((data for root in existing if (data := _read(root, file, digest)) is not None), None)
        if data is None:
            continue
        address = _small(data)
        budget -= len(address)
        if budget < 0:
            break
        addresses[digest] = address
    return addresses


def _read(root: Path, file: str, digest: str) -> bytes | None:
    """Return the file's bytes if they are those that the runs saw."""
    path = path_of(file, root)
    try:
        data = path.read_bytes() if path.resolve().is_relative_to(root.resolve()) else b""
    except OSError:
        return None
    return data if hashlib.sha256(data).hexdigest() == digest else None


def _small(data: bytes) -> str:
    with Image.open(io.BytesIO(data)) as opened:
        opened.draft("RGB", (2 * _EDGE, 2 * _EDGE))
        image = upright(opened).convert("RGB")
    image.thumbnail((_EDGE, _EDGE), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=72, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()
