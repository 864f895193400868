"""Find images that are nearly the same: scaled, compressed, brightened, slightly cut, or mirrored copies.

Two such images in training and evaluation flatter every figure, so that each run keeps what is found. Whether two
images are such a pair is decided in `image_match`. No torch in here: a sweep searches before its first job.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from tlft.data.dataset import Dataset
from tlft.data.splits import ImageFile
from tlft.duplicates.candidates import SPLITS, Candidate, describe, find_candidates
from tlft.duplicates.image_match import appearance_of, is_copy
from tlft.errors import TlftError
from tlft.pixels.pixel_store import DecodedImages
from tlft.pixels.transforms import Transform
from tlft.pixels.versions import decoder_versions
from tlft.storage.files import atomic_write, relative_name
from tlft.storage.locks import one_at_a_time
from tlft.terminal.progress import progress

log = logging.getLogger(__name__)

MOST_IMAGES = 100_000
MOST_PAIRS = 1000
_FORMAT = 3
"""Goes up when other pairs are found."""

_WAITING = "looking for near-duplicates: waiting for another process that looks for the same"


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
    files = [file for split in SPLITS for file in dataset.split(split) if file.sha256 in decoded.rows]
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


def _find(dataset: Dataset, files: Sequence[ImageFile], decoded: DecodedImages, workers: int) -> list[Pair]:
    rows = [decoded.rows[file.sha256] for file in files]

    def is_copy_of(candidate: Candidate) -> bool:
        one, other = (
            appearance_of(decoded.pixels.centre(rows[place])) for place in (candidate.first, candidate.second)
        )
        labels = {None, *(files[place].label for place in (candidate.first, candidate.second))}
        shared = [descriptions.means[label] for label in labels if label in descriptions.means]
        return is_copy(one, other.mirrored if candidate.mirrored else other, shared)

    with ThreadPoolExecutor(workers) as pool:
        descriptions = describe(files, decoded, pool)
        candidates = find_candidates(files, descriptions)
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
