"""Find which images may be nearly the same, among so many that their pixels cannot all be compared.

Whether two of them are is decided elsewhere: what is near by its hash may be another image of its kind.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from tlft.data.splits import ImageFile
from tlft.duplicates.image_match import appearance_of
from tlft.pixels.pixel_store import DecodedImages
from tlft.terminal.progress import progress

log = logging.getLogger(__name__)

LARGEST_DISTANCE = 12
"""Bits of 64 in which two hashes may differ; unrelated photographs differ in some 32, hardly ever in fewer."""

MOST_COMPARED = 10_000
"""Pairs whose pixels are compared, at some hundredth of a second each."""

SPLITS = ("eval", "train", "holdout")
_A_KIND = 20  # images, from which on their mean tells what such images share
_CANDIDATES = 2  # of each image in each split
_MOST_SKETCHED = 500_000_000
"""Pairs whose sketches are compared with one split, so that the search ends where all are alike."""

_BLOCK = 512  # times all images: what is in memory at once


@dataclass(frozen=True)
class Candidate:
    """Two images, by their places, whose hashes are near; `apart` says how far their sketches are."""

    apart: float
    first: int
    second: int
    distance: int
    mirrored: bool


@dataclass(frozen=True)
class Descriptions:
    """What candidates are found by, and of each image's mirror image too.

    Attributes:
        hashes: float32 [2, n, 64] of -1 and 1: a product tells distances.
        sketches: float32 [2, n, 259]; see `Appearance.sketch`.
        means: label -> mean grey of a class, float32 [SIDE, SIDE], and None -> of all; not of a few images.
    """

    hashes: np.ndarray
    sketches: np.ndarray
    means: dict[int | None, np.ndarray]


def describe(files: Sequence[ImageFile], decoded: DecodedImages, pool: Executor) -> Descriptions:
    """Compute what candidates among some images are found by, in the threads of a pool."""
    from imagehash import phash

    rows = [decoded.rows[file.sha256] for file in files]

    def describe_one(row: int) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
        pixels = decoded.pixels.centre(row)
        image, appearance = Image.fromarray(pixels), appearance_of(pixels)
        hashes = [phash(image).hash.ravel(), phash(ImageOps.mirror(image)).hash.ravel()]
        return hashes, [appearance.sketch(), appearance.mirrored.sketch()], appearance.grey

    hashes, sketches = [], []
    sums: dict[int | None, np.ndarray] = {}
    with progress("looking for near-duplicates", len(rows), "images") as advance:
        for file, (hashes_of_one, sketches_of_one, grey) in zip(files, pool.map(describe_one, rows), strict=True):
            hashes.append(hashes_of_one)
            sketches.append(sketches_of_one)
            for label in (None, file.label):
                sums[label] = sums.get(label, np.zeros(grey.shape)) + grey
            advance(1)
    counts = Counter(file.label for file in files) | {None: len(files)}
    means = {label: (sums[label] / counts[label]).astype(np.float32) for label in sums if counts[label] >= _A_KIND}
    signs = np.array(hashes, dtype=np.float32).swapaxes(0, 1) * 2 - 1
    return Descriptions(signs, np.array(sketches).swapaxes(0, 1), means)


def find_candidates(files: Sequence[ImageFile], descriptions: Descriptions) -> list[Candidate]:
    """Return for each image its likeliest copies in each split, the likeliest first.

    Of too many those across training and evaluation are taken first, so that a leak is not lost among others.
    """
    contents = np.unique([file.sha256 for file in files], return_inverse=True)[1]
    splits = np.array([file.split for file in files])
    most = _MOST_SKETCHED // max(len(files), 1)
    crowded = set[int]()
    candidates: dict[tuple[int, int, bool], Candidate] = {}
    for split in (split for split in SPLITS if (splits == split).any()):
        for mirrored in (False, True):
            near = _near_ones(descriptions, np.flatnonzero(splits == split), most, crowded, mirrored=mirrored)
            for block, others, distances, apart in near:
                apart[contents[block, None] == contents[None, others]] = np.inf  # copies of a file
                for row, column in _smallest(apart):
                    place, other = int(block[row]), int(others[column])
                    key = (min(place, other), max(place, other), mirrored)
                    if place < other or key not in candidates:  # mirrored, the two directions may differ by some bits
                        bits = int(distances[row, column])
                        candidates[key] = Candidate(float(apart[row, column]), key[0], key[1], bits, mirrored)
    if crowded:
        log.info("%d images are alike to more others than the %d of each that are looked at", len(crowded), most)
    ranked = sorted(candidates.values(), key=lambda candidate: candidate.apart)
    if len(ranked) > MOST_COMPARED:
        log.info("%d pairs of images may be nearly the same; the likeliest %d are compared", len(ranked), MOST_COMPARED)
        leaking = {"train", "eval"}
        ranked.sort(key=lambda candidate: {splits[candidate.first], splits[candidate.second]} != leaking)
    return ranked[:MOST_COMPARED]


def _near_ones(
    descriptions: Descriptions, others: np.ndarray, most: int, crowded: set[int], *, mirrored: bool
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
