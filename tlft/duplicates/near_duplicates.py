"""Find images that are nearly the same: scaled, compressed, brightened, slightly cut, or mirrored copies.

Two such images in training and evaluation flatter every figure, so that each run keeps what is found. Whether two
images are such a pair is decided in `image_match`. No torch in here: a sweep searches before its first job.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from tlft.data.dataset import Dataset
from tlft.data.splits import ImageFile
from tlft.duplicates.image_match import appearance_of, is_copy
from tlft.errors import TlftError
from tlft.pixels.pixel_store import DecodedImages
from tlft.pixels.transforms import Transform
from tlft.pixels.versions import decoder_versions
from tlft.storage.files import atomic_write, relative_name
from tlft.storage.locks import one_at_a_time
from tlft.terminal.progress import progress

log = logging.getLogger(__name__)

LARGEST_DISTANCE = 12
"""Bits of 64 in which two hashes may differ; unrelated photographs differ in some 32, hardly ever in fewer."""

MOST_IMAGES = 100_000
MOST_COMPARED = 10_000
"""Pairs whose pixels are compared, at some hundredth of a second each."""

MOST_PAIRS = 1000
_FORMAT = 3
"""Goes up when other pairs are found."""

_SPLITS = ("eval", "train", "holdout")
_WAITING = "looking for near-duplicates: waiting for another process that looks for the same"
_A_KIND = 20  # images, from which on their mean tells what such images share
_CANDIDATES = 2  # of each image in each split
_MOST_SKETCHED = 500_000_000
"""Pairs whose sketches are compared with one split, so that the search ends where all are alike."""

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
    """Two images of one picture, whose hashes (or one's and the other's mirror image's) differ in `distance` bits."""

    one: Member
    other: Member
    distance: int
    mirrored: bool

    @property
    def leaks(self) -> bool:
        """Whether one of them was trained on and the other is reported."""
        return {self.one.split, self.other.split} == {"train", "eval"}


def find_near_duplicates(
    dataset: Dataset, decoded: DecodedImages, transform: Transform, cache: Path, workers: int = 2
) -> list[Pair] | None:
    """Return the pairs of images that show one picture, those that leak first; None for more than `MOST_IMAGES`.

    Candidates are images whose perceptual hashes (imagehash's phash: the signs of the lowest 8 x 8 frequencies of the
    grey image), or that of one and of the other's mirror image, are near. Those frequencies say little of something in
    the middle of an even ground, so that the pixels decide (`tlft.duplicates.image_match`). Found once for each set of
    decoded images, in `workers` threads; processes that ask at once search once.
    """
    files = [file for split in _SPLITS for file in dataset.split(split) if file.sha256 in decoded.rows]
    if len(files) > MOST_IMAGES:
        log.info("near-duplicates are not looked for among more than %d images", MOST_IMAGES)
        return None
    names = [[file.split, file.label, file.sha256, relative_name(file.path, dataset.root)] for file in files]
    geometry = [transform.resize, transform.crop, transform.interpolation, *transform.peculiarities]
    identity = json.dumps([_FORMAT, decoder_versions(), geometry, dataset.classes, names], sort_keys=True)
    memory = cache / "near_duplicates" / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.json"
    if (pairs := _read(memory)) is not None:
        return pairs
    with ExitStack() as held:
        try:
            memory.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(one_at_a_time(memory.with_suffix(".lock"), _WAITING))
        except OSError as error:  # a cache that may only be read: two processes may search the same
            log.debug("%s: no lock (%s)", memory, error)
        if (pairs := _read(memory)) is not None:
            return pairs
        pairs = _find(dataset, files, decoded, workers)
        try:
            atomic_write(memory, to_json(pairs).encode())
        except TlftError as error:
            log.debug("%s", error)
    return pairs


def _read(memory: Path) -> list[Pair] | None:
    try:
        return parse(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


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


def group_by_likeness(files: Sequence[ImageFile], pairs: Sequence[Pair]) -> dict[str, str]:
    """Return the group of each image of a split, by SHA-256: images that are linked by pairs are one group."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    digests = list(dict.fromkeys(file.sha256 for file in files))
    places = {digest: place for place, digest in enumerate(digests)}
    ends = [(pair.one.sha256, pair.other.sha256) for pair in pairs]
    linked = [(places[one], places[other]) for one, other in ends if one in places and other in places]
    rows, columns = ([link[side] for link in linked] for side in (0, 1))
    graph = coo_array((np.ones(len(linked)), (rows, columns)), shape=(len(digests), len(digests)))
    names: dict[int, str] = {}
    numbers = connected_components(graph)[1].tolist()
    return {digest: names.setdefault(number, digest[:16]) for digest, number in zip(digests, numbers, strict=True)}


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


@dataclass(frozen=True)
class _Candidate:
    """Two images, by their places, whose hashes are near; `apart` says how far their sketches are."""

    apart: float
    first: int
    second: int
    distance: int
    mirrored: bool


def _find(dataset: Dataset, files: Sequence[ImageFile], decoded: DecodedImages, workers: int) -> list[Pair]:
    rows = [decoded.rows[file.sha256] for file in files]

    def is_copy_of(candidate: _Candidate) -> bool:
        one, other = (
            appearance_of(decoded.pixels.centre(rows[place])) for place in (candidate.first, candidate.second)
        )
        labels = {None, *(files[place].label for place in (candidate.first, candidate.second))}
        shared = [descriptions.means[label] for label in labels if label in descriptions.means]
        return is_copy(one, other.mirrored if candidate.mirrored else other, shared)

    with ThreadPoolExecutor(workers) as pool:
        descriptions = _describe(files, decoded, pool)
        candidates = _find_candidates(files, descriptions)
        matches: dict[tuple[int, int], tuple[int, bool]] = {}
        with progress("comparing likely near-duplicates", len(candidates), "pairs") as advance:
            for candidate, confirmed in zip(candidates, pool.map(is_copy_of, candidates), strict=True):
                if confirmed:
                    match = (candidate.distance, candidate.mirrored)
                    places = (candidate.first, candidate.second)
                    matches[places] = min(matches.get(places, match), match)
                advance(1)
    members = [
        Member(relative_name(file.path, dataset.root), file.sha256, file.split, dataset.classes[file.label])
        for file in files
    ]
    ranked = sorted(matches.items(), key=lambda item: (item[1], item[0]))
    pairs = sorted(
        (Pair(members[first], members[second], *match) for (first, second), match in ranked),
        key=lambda pair: not pair.leaks,
    )
    if len(pairs) > MOST_PAIRS:
        log.info("%d pairs of images are nearly the same; %d are kept, those that leak first", len(pairs), MOST_PAIRS)
    return pairs[:MOST_PAIRS]


@dataclass(frozen=True)
class _Descriptions:
    """What candidates are found by, and of each image's mirror image too.

    Attributes:
        hashes: float32 [2, n, 64] of -1 and 1: a product tells distances.
        sketches: float32 [2, n, 259]; see `Appearance.sketch`.
        means: label -> mean grey of a class, float32 [SIDE, SIDE], and None -> of all; not of a few images.
    """

    hashes: np.ndarray
    sketches: np.ndarray
    means: dict[int | None, np.ndarray]


def _describe(files: Sequence[ImageFile], decoded: DecodedImages, pool: Executor) -> _Descriptions:
    from imagehash import phash

    rows = [decoded.rows[file.sha256] for file in files]

    def describe(row: int) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
        pixels = decoded.pixels.centre(row)
        image, appearance = Image.fromarray(pixels), appearance_of(pixels)
        hashes = [phash(image).hash.ravel(), phash(ImageOps.mirror(image)).hash.ravel()]
        return hashes, [appearance.sketch(), appearance.mirrored.sketch()], appearance.grey

    hashes, sketches = [], []
    sums: dict[int | None, np.ndarray] = {}
    with progress("looking for near-duplicates", len(rows), "images") as advance:
        for file, (hashes_of_one, sketches_of_one, grey) in zip(files, pool.map(describe, rows), strict=True):
            hashes.append(hashes_of_one)
            sketches.append(sketches_of_one)
            for label in (None, file.label):
                sums[label] = sums.get(label, np.zeros(grey.shape)) + grey
            advance(1)
    counts = Counter(file.label for file in files) | {None: len(files)}
    means = {label: (sums[label] / counts[label]).astype(np.float32) for label in sums if counts[label] >= _A_KIND}
    signs = np.array(hashes, dtype=np.float32).swapaxes(0, 1) * 2 - 1
    return _Descriptions(signs, np.array(sketches).swapaxes(0, 1), means)


def _find_candidates(files: Sequence[ImageFile], descriptions: _Descriptions) -> list[_Candidate]:
    """Return for each image its likeliest copies in each split, the likeliest first."""
    contents = np.unique([file.sha256 for file in files], return_inverse=True)[1]
    splits = np.array([file.split for file in files])
    most = _MOST_SKETCHED // max(len(files), 1)
    crowded = set[int]()
    candidates: dict[tuple[int, int, bool], _Candidate] = {}
    for split in (split for split in _SPLITS if (splits == split).any()):
        for mirrored in (False, True):
            near = _near_ones(descriptions, np.flatnonzero(splits == split), most, crowded, mirrored=mirrored)
            for block, others, distances, apart in near:
                apart[contents[block, None] == contents[None, others]] = np.inf  # copies of a file
                for row, column in _smallest(apart):
                    place, other = int(block[row]), int(others[column])
                    key = (min(place, other), max(place, other), mirrored)
                    if place < other or key not in candidates:  # mirrored, the two directions may differ by some bits
                        bits = int(distances[row, column])
                        candidates[key] = _Candidate(float(apart[row, column]), key[0], key[1], bits, mirrored)
    if crowded:
        log.info("%d images are alike to more others than the %d of each that are looked at", len(crowded), most)
    ranked = sorted(candidates.values(), key=lambda candidate: candidate.apart)
    if len(ranked) > MOST_COMPARED:
        log.info("%d pairs of images may be nearly the same; the likeliest %d are compared", len(ranked), MOST_COMPARED)
    return ranked[:MOST_COMPARED]


def _near_ones(
    descriptions: _Descriptions, others: np.ndarray, most: int, crowded: set[int], *, mirrored: bool
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield blocks of images, b, with those of the others, k, that are near to some of them by their hashes.

    Images are taken in the order of one projection of their sketches, in which copies are not far from each other, so
    that a block has few others that are near. Of too many those around its place are taken; who loses some is crowded.

    Yields:
        The places of both, int64 [b] and [k]; in how many bits their hashes differ, and how far apart their sketches
        are, or infinite where the hashes are not near, float32 [b, k].
    """
    side = int(mirrored)
    direction = np.random.default_rng(0).standard_normal(descriptions.sketches.shape[2], dtype=np.float32)
    projections = np.asarray(descriptions.sketches @ direction)
    order = np.argsort(projections[0], kind="stable")
    others = others[np.argsort(projections[side, others], kind="stable")]
    hashes, bits = descriptions.hashes[side, others], descriptions.hashes.shape[2]
    room = np.empty((min(_BLOCK, len(order)), len(others)), np.float32), np.empty((_BLOCK, len(others)), np.bool_)
    for start in range(0, len(order), _BLOCK):
        block = order[start : start + _BLOCK]
        products = np.matmul(descriptions.hashes[0, block], hashes.T, out=room[0][: len(block)])
        is_near = np.greater_equal(products, bits - 2 * LARGEST_DISTANCE, out=room[1][: len(block)])
        columns = np.flatnonzero(is_near.any(axis=0))
        if len(columns) > most:
            place = np.searchsorted(projections[side, others[columns]], projections[0, block[len(block) // 2]])
            columns = columns[max(int(place) - most // 2, 0) :][:most]
            crowded.update(block[is_near.sum(axis=1) > is_near[:, columns].sum(axis=1)].tolist())
        sketches = descriptions.sketches[0, block], descriptions.sketches[side, others[columns]]
        apart = np.where(is_near[:, columns], _squared_distances(*sketches), np.inf)
        yield block, others[columns], (bits - products[:, columns]) / 2, apart


def _squared_distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.asarray((one * one).sum(1)[:, None] + (other * other).sum(1) - 2 * one @ other.T)


def _smallest(values: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield row and column of the smallest `_CANDIDATES` finite values of each row."""
    for row in np.flatnonzero(np.isfinite(values).any(axis=1)).tolist():
        finite = np.flatnonzero(np.isfinite(values[row]))
        if len(finite) > _CANDIDATES:
            finite = finite[np.argpartition(values[row, finite], _CANDIDATES - 1)[:_CANDIDATES]]
        yield from ((row, int(column)) for column in finite[np.argsort(values[row, finite])])
