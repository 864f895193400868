"""Decode every image once, into a memory-mapped array of the transform's size that all runs share.

No torch in here: what a network makes of them, normalised and flipped, is the business of `tlft.data.batches`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import PIL
from filelock import Timeout
from PIL import Image

from tlft.data.decode import BadImageError, decode, read_file
from tlft.data.transforms import Transform
from tlft.errors import TlftError
from tlft.storage.files import display_name
from tlft.storage.locks import locked, one_at_a_time
from tlft.terminal.progress import progress

log = logging.getLogger(__name__)

_FORMAT = 2
"""Goes up when this module gives other pixels, or lays its cache out in another way."""

_In = TypeVar("_In")
_Out = TypeVar("_Out")


@dataclass(frozen=True)
class DecodedImages:
    """The pixels of a set of files.

    Attributes:
        array: uint8 [files, crop, crop, 3], memory-mapped, read-only; black where a file is bad.
        rows: row in `array` for the SHA-256 of each good file.
        bad: a few words on what is wrong, for the SHA-256 of each bad file.
    """

    array: np.ndarray
    rows: Mapping[str, int]
    bad: Mapping[str, str]


def resize_and_crop(image: Image.Image, transform: Transform) -> np.ndarray:
    """Scale the shorter side and cut the centre, bit for bit as torchvision's Resize and CenterCrop.

    Returns:
        uint8 [crop, crop, 3]; black where the scaled image is smaller than the crop.

    Raises:
        ValueError: if the image is so narrow that it would not fit into memory once scaled.
    """
    short = min(image.size)
    width, height = (int(transform.resize * side / short) for side in image.size)
    if Image.MAX_IMAGE_PIXELS and width * height > 2 * Image.MAX_IMAGE_PIXELS:
        raise ValueError(f"is too narrow to be scaled ({image.width} x {image.height} pixels)")
    scaled = image.resize((width, height), Image.Resampling[transform.interpolation.upper()])
    left, top = _offset(width, transform.crop), _offset(height, transform.crop)
    return np.asarray(scaled.crop((left, top, left + transform.crop, top + transform.crop)))


def load_pixels(path: Path, transform: Transform, digest: str | None = None) -> np.ndarray:
    """Return the image of a file, which must still have the SHA-256 `digest`, scaled and cut: uint8 [crop, crop, 3].

    Raises:
        BadImageError: if the file is no image, or one that is too narrow to be scaled.
        TlftError: if the file cannot be read, or changed.
    """
    data = read_file(path)
    if digest is not None and hashlib.sha256(data).hexdigest() != digest:
        raise TlftError(f"{display_name(path)}: the file changed after its digest was taken; start again")
    image = decode(data, path)
    try:
        return resize_and_crop(image, transform)
    except ValueError as error:
        raise BadImageError(path, str(error)) from None


def decode_images(
    files: Mapping[str, Path], transform: Transform, cache: Path, *, on_bad_image: str = "error", workers: int = 2
) -> DecodedImages:
    """Open the decoded images as `decode_all` does, and refuse the bad files, or say that they are skipped.

    Args:
        files: a path for each file's SHA-256.
        transform: its mean and std play no part.
        cache: holds a folder for each set of files and size.
        on_bad_image: `error`, or `skip`, which names the bad files in the log.
        workers: threads that decode.

    Raises:
        BadImageError: names the first bad file and counts the others, if `on_bad_image` is `error`.
        TlftError: if a file vanished or changed, or the cache cannot be written.
    """
    decoded = decode_all(files, transform, cache, workers)
    failed = [(path, decoded.bad[digest]) for digest, path in files.items() if digest in decoded.bad]
    if failed and on_bad_image == "error":
        path, reason = failed[0]
        more = f" ({len(failed) - 1} more bad)" if len(failed) > 1 else ""
        raise BadImageError(path, reason + more, "replace or delete them, or set data.on_bad_image=skip")
    for path, reason in failed:
        log.warning("skipped %s: %s", display_name(path), reason)
    if failed:
        log.warning("skipped %d of %d images", len(failed), len(files))
    return decoded


def decode_all(files: Mapping[str, Path], transform: Transform, cache: Path, workers: int = 2) -> DecodedImages:
    """Open the decoded images, decoding them if nobody has yet; processes that ask at once decode once.

    Raises:
        TlftError: if a file vanished or changed, or the cache cannot be written.
    """
    folder = cache / _key(files, transform)
    decoded = _open(folder, files, transform)
    if decoded is None:
        _decode_under_lock(folder, files, transform, workers)
        decoded = _open(folder, files, transform)
        assert decoded is not None
    with suppress(OSError):  # a cache that may only be read
        os.utime(folder / "index.json")
    return decoded


def _offset(side: int, crop: int) -> int:
    """Return where the crop begins; torchvision rounds padding down, and half a pixel of a cut to even."""
    return -((crop - side) // 2) if crop > side else round((side - crop) / 2)


def _key(files: Mapping[str, Path], transform: Transform) -> str:
    geometry = (transform.resize, transform.crop, transform.interpolation)
    # another Pillow may give other pixels, and may read files that this one calls bad
    return hashlib.sha256(repr((sorted(files), geometry, _FORMAT, PIL.__version__)).encode()).hexdigest()


def _open(folder: Path, files: Mapping[str, Path], transform: Transform) -> DecodedImages | None:
    """Return what the folder holds, or None if it is not there or damaged."""
    try:
        index = json.loads((folder / "index.json").read_text())
        array = np.load(folder / "images.npy", mmap_mode="r")
        is_whole = (
            index["format"] == _FORMAT
            and index["rows"].keys() | index["bad"].keys() == files.keys()
            and array.shape == (len(files), transform.crop, transform.crop, 3)
        )
        return DecodedImages(array, index["rows"], index["bad"]) if is_whole else None
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _decode_under_lock(folder: Path, files: Mapping[str, Path], transform: Transform, workers: int) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        for leftover in folder.parent.glob("*.partial"):  # of killed processes: whoever still decodes holds the lock
            with suppress(Timeout), locked(leftover.with_suffix(".lock"), 0):
                shutil.rmtree(leftover, ignore_errors=True)
        waiting = "decoding images: waiting for another process that decodes the same"
        with one_at_a_time(folder.with_suffix(".lock"), waiting):
            if _open(folder, files, transform) is None:
                _decode(folder, files, transform, workers)
    except OSError as error:
        mend = "free space there, or set paths.home"
        raise TlftError(f"{folder}: cannot write the decoded images ({error.strerror or error}); {mend}") from None


def _decode(folder: Path, files: Mapping[str, Path], transform: Transform, workers: int) -> None:
    """Fill a folder beside and move it into place, so that what has the final name is whole."""
    partial = folder.with_suffix(".partial")
    for old in (partial, folder):
        shutil.rmtree(old, ignore_errors=True)
    partial.mkdir()
    try:
        # the pool's threads must not set filters themselves: they are shared by all threads
        with warnings.catch_warnings(), ThreadPoolExecutor(workers) as pool:
            warnings.filterwarnings("ignore", module="PIL")
            _write(partial, files, transform, pool)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write(folder: Path, files: Mapping[str, Path], transform: Transform, pool: ThreadPoolExecutor) -> None:
    shape = (len(files), transform.crop, transform.crop, 3)
    rows: dict[str, int] = {}
    bad: dict[str, str] = {}
    digests = sorted(files)
    results = in_order(pool, lambda digest: load_pixels(files[digest], transform, digest), digests)
    # written, not mapped: a full disk is an error here, and would kill the process at a mapped page
    with (folder / "images.npy").open("wb") as file, progress("decoding images", len(files), "images") as advance:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for row, (digest, pixels) in enumerate(zip(digests, results, strict=True)):
            if isinstance(pixels, BadImageError):
                bad[digest] = pixels.reason
                file.write(bytes(shape[1] * shape[2] * 3))
            elif isinstance(pixels, TlftError):
                raise pixels
            else:
                rows[digest] = row
                file.write(pixels.tobytes())
            advance(1)
        file.flush()
        os.fsync(file.fileno())
    (folder / "index.json").write_text(json.dumps({"format": _FORMAT, "rows": rows, "bad": bad}))


def in_order(
    pool: ThreadPoolExecutor, function: Callable[[_In], _Out], items: Iterable[_In]
) -> Iterator[_Out | TlftError]:
    """Map, with a TlftError in place of the result that it prevented, and a bounded number of results in memory.

    `Executor.map` would end at the first error, and keep all results that are not yet taken.
    """
    futures = (pool.submit(function, item) for item in items)
    pending = deque(islice(futures, 32))
    while pending:
        future = pending.popleft()
        error = future.exception()
        yield error if isinstance(error, TlftError) else future.result()
        pending.extend(islice(futures, 1))
