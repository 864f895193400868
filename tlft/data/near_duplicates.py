"""Find images that are nearly the same: scaled, compressed, brightened, slightly cut, or mirrored copies.

Two such images in training and evaluation flatter every figure, so that each run keeps what is found.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from tlft.data.batches import Images, Split
from tlft.data.dataset import Dataset, ImageFile
from tlft.errors import TlftError
from tlft.runtime.files import atomic_write, relative_name

log = logging.getLogger(__name__)

LARGEST_DISTANCE = 8
"""Bits of 64 in which two hashes may differ; unrelated photographs differ in some 32, hardly ever in fewer than 12."""

MOST_IMAGES = 100_000
MOST_PAIRS = 1000
_FORMAT = 1
"""Goes up when other pairs are found."""

_BLOCK = 512  # times MOST_IMAGES: what is in memory at once


@dataclass(frozen=True)
class Member:
    """One of two images that are nearly the same; `file` is relative to the data's folder."""

    file: str
    sha256: str
    split: str
    label: str


@dataclass(frozen=True)
class Pair:
    """Two images whose hashes, or that of one and of the other's mirror image, differ in `distance` of 64 bits."""

    one: Member
    other: Member
    distance: int
    mirrored: bool

    @property
    def leaks(self) -> bool:
        """Whether one of them was trained on and the other is reported."""
        return {self.one.split, self.other.split} == {"train", "eval"}


def find_near_duplicates(dataset: Dataset, images: Images, cache: Path) -> list[Pair] | None:
    """Return the pairs of images that are nearly the same, nearest first; None for more images than `MOST_IMAGES`.

    The perceptual hash of what the networks see is compared (imagehash's phash: the signs of the lowest 8 x 8
    frequencies of the grey image), and that of its mirror image. Computed once for each set of decoded images.
    """
    splits = [split for split in (images.eval, images.train, images.holdout) if split is not None]
    files = [file for split in splits for file in split.files]
    if len(files) > MOST_IMAGES:
        log.info("near-duplicates are not looked for among more than %d images", MOST_IMAGES)
        return None
    names = [[file.split, file.label, file.sha256, relative_name(file.path, dataset.root)] for file in files]
    identity = [_FORMAT, images.eval.transform.to_dict(), dataset.classes, names]
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]
    memory = cache / "near_duplicates" / f"{key}.json"
    try:
        return parse(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        pairs = _find(dataset, files, splits)
    try:
        atomic_write(memory, to_json(pairs).encode())
    except TlftError as error:  # a cache that may only be read, or another process has it
        log.debug("%s", error)
    return pairs


def to_json(pairs: Sequence[Pair]) -> str:
    """Return the pairs as JSON; the inverse of `parse`."""
    return json.dumps({"near_duplicates": [asdict(pair) for pair in pairs]}, indent=1, ensure_ascii=False)


def parse(text: str) -> list[Pair]:
    """Return the pairs that `to_json` was given.

    Raises:
        ValueError: if the text is no such JSON.
    """
    try:
        pairs = json.loads(text)["near_duplicates"]
        return [Pair(Member(**pair.pop("one")), Member(**pair.pop("other")), **pair) for pair in pairs]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no near-duplicates: {error}") from None


def describe_leaks(pairs: Sequence[Pair]) -> str:
    """Return which evaluation images were trained on, nearly, in at most some hundred characters; nothing for none."""
    leaks = [pair if pair.one.split == "eval" else Pair(pair.other, pair.one, 0, False) for pair in pairs if pair.leaks]
    if not leaks:
        return ""
    count = len({pair.one.sha256 for pair in leaks})
    images = "evaluation image has" if count == 1 else "evaluation images have"
    listed = ", ".join(f"{_short(pair.one.file)} and {_short(pair.other.file)}" for pair in leaks[:3])
    more = f", and {len(leaks) - 3} more pairs" if len(leaks) > 3 else ""
    return f"{count} {images} a near-duplicate among the training images ({listed}{more})"


def _short(file: str) -> str:
    return file if len(file) <= 120 else f"{file[:60]}...{file[-57:]}"


def _find(dataset: Dataset, files: Sequence[ImageFile], splits: Sequence[Split]) -> list[Pair]:
    """Return for each image the nearest other in each split, where it is near enough, each pair once."""
    hashes, mirrored_hashes = _hash(splits)
    contents = np.unique([file.sha256 for file in files], return_inverse=True)[1]
    columns = np.split(np.arange(len(files)), np.cumsum([len(split) for split in splits])[:-1])
    matches: dict[tuple[int, int], tuple[int, bool]] = {}
    for start in range(0, len(files), _BLOCK):
        block = slice(start, start + _BLOCK)
        for is_mirrored, candidates in ((False, hashes), (True, mirrored_hashes)):
            for of_split in columns:
                distance = (hashes.shape[1] - hashes[block] @ candidates[of_split].T) / 2
                distance[contents[block, None] == contents[None, of_split]] = np.inf  # copies of a file
                nearest = distance.argmin(axis=1)
                for row in np.flatnonzero(distance.min(axis=1) <= LARGEST_DISTANCE):
                    first, second = sorted((start + int(row), int(of_split[nearest[row]])))
                    match = (int(distance[row, nearest[row]]), is_mirrored)
                    matches[first, second] = min(matches.get((first, second), match), match)
    ranked = sorted(matches.items(), key=lambda item: (item[1], item[0]))
    if len(ranked) > MOST_PAIRS:
        log.info("%d pairs of images are nearly the same; the nearest %d are kept", len(ranked), MOST_PAIRS)
    members = [
        Member(relative_name(file.path, dataset.root), file.sha256, file.split, dataset.classes[file.label])
        for file in files
    ]
    return [Pair(members[first], members[second], *match) for (first, second), match in ranked[:MOST_PAIRS]]


def _hash(splits: Sequence[Split]) -> tuple[np.ndarray, np.ndarray]:
    """Return the hash of each image and of its mirror image, float32 [n, 64] of -1 and 1: a product tells distances."""
    from imagehash import phash

    hashes = []
    for split in splits:
        for position in range(len(split)):
            image = Image.fromarray(split.pixels[np.array([position])][0])
            hashes.append([phash(image).hash.ravel(), phash(ImageOps.mirror(image)).hash.ravel()])
    bits = np.array(hashes, dtype=np.float32) * 2 - 1
    return bits[:, 0], bits[:, 1]
