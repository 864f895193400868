"""Decode every image once, for all sets, splits and crops: a record of it, scaled and uncropped, that all runs share.

No torch in here: what a network makes of them, normalised and flipped, is the business of `tlft.data.batches`.
"""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from tlft.commands import invocation
from tlft.errors import TlftError
from tlft.pixels.cache import former_caches
from tlft.pixels.decode import BadImageError, decode, read_file
from tlft.pixels.stored_pixels import StoredPixels, centre_offset, cut_centre, record_of
from tlft.pixels.transforms import Transform
from tlft.pixels.versions import name_of_decoded
from tlft.runtime.memory import bound_freed, keeping_freed
from tlft.storage.files import display_name, mend_of_home
from tlft.storage.records import Appender, RecordStore, open_store
from tlft.terminal.progress import progress

log = logging.getLogger(__name__)

_LONGEST = 4
"""Times the shorter side: so much of an image is kept, that of its middle, else one of 1 x 400 pixels takes 75 MB."""

_WAITING = "decoding images: waiting for another process that decodes such images"

_BETWEEN_LOOKS = 32
"""Images, between looks at how much memory is held: as many are decoded ahead."""

_In = TypeVar("_In")
_Out = TypeVar("_Out")


@dataclass(frozen=True)
class DecodedImages:
    """The pixels of a set of files.

    Attributes:
        pixels: of each good file, served as uint8 [n, crop, crop, 3].
        rows: row in `pixels` for the SHA-256 of each good file.
        bad: a few words on what is wrong, for the SHA-256 of each bad file.
    """

    pixels: StoredPixels
    rows: Mapping[str, int]
    bad: Mapping[str, str]


def scale(image: Image.Image, transform: Transform) -> Image.Image:
    """Scale the shorter side, bit for bit as torchvision's Resize; or both sides to one length, if that is asked for.

    Raises:
        ValueError: if the image is so narrow that it would not fit into memory once scaled.
    """
    short = min(image.size)
    width, height = (int(transform.resize * side / short) for side in image.size)
    if transform.squash:
        width = height = transform.resize
    if Image.MAX_IMAGE_PIXELS and width * height > 2 * Image.MAX_IMAGE_PIXELS:
        raise ValueError(f"is too narrow to be scaled ({image.width} x {image.height} pixels)")
    return image.resize((width, height), Image.Resampling[transform.interpolation.upper()])


def resize_and_crop(image: Image.Image, transform: Transform) -> np.ndarray:
    """Scale the shorter side and cut the centre, bit for bit as torchvision's Resize and CenterCrop.

    Returns:
        uint8 [crop, crop, 3]; black where the scaled image is smaller than the crop.

    Raises:
        ValueError: if the image is so narrow that it would not fit into memory once scaled.
    """
    scaled = scale(image, transform)
    left, top = (centre_offset(side, transform.crop) for side in scaled.size)
    return np.asarray(scaled.crop((left, top, left + transform.crop, top + transform.crop)))


def load_pixels(path: Path, transform: Transform) -> np.ndarray:
    """Return the image of a file scaled and cut, as `resize_and_crop` does: uint8 [crop, crop, 3].

    Raises:
        BadImageError: if the file is no image, or one that is too narrow to be scaled.
        TlftError: if the file cannot be read.
    """
    pixels = np.empty((transform.crop, transform.crop, 3), np.uint8)
    cut_centre(load_scaled(path, transform), pixels)
    return pixels


def load_scaled(path: Path, transform: Transform, digest: str | None = None) -> np.ndarray:
    """Return the image of a file, which must still have the SHA-256 `digest`, scaled and uncropped, as a record has it.

    Returns:
        uint8 [height, width, 3]. Of one that is longer than some four times its shorter side the middle alone, cut by
        a multiple of four pixels, so that the centre crop is that of the whole image to the bit.

    Raises:
        BadImageError: if the file is no image, or one that is too narrow to be scaled.
        TlftError: if the file cannot be read, or changed.
    """
    data = read_file(path)
    if digest is not None and hashlib.sha256(data).hexdigest() != digest:
        raise TlftError(f"{display_name(path)}: the file changed after its digest was taken; start again")
    try:
        scaled = scale(decode(data, path, transform.reading), transform)
    except ValueError as error:
        raise BadImageError(path, str(error)) from None
    left, top = (max((side - _longest(transform)) // 4, 0) * 2 for side in scaled.size)
    if left or top:
        scaled = scaled.crop((left, top, scaled.width - left, scaled.height - top))
    return np.asarray(scaled)


def _longest(transform: Transform) -> int:
    """Return how many pixels of a longer side a record has at least, if there are so many; never less than a crop."""
    return transform.resize * max(_LONGEST, -(-transform.crop // transform.resize))


def decode_images(
    files: Mapping[str, Path], transform: Transform, cache: Path, *, on_bad_image: str = "error", workers: int = 2
) -> DecodedImages:
    """Open the decoded images as `decode_all` does, and refuse the bad files, or say that they are skipped.

    Args:
        files: a path for each file's SHA-256.
        transform: its mean and std play no part.
        cache: holds a store for each size and interpolation; records of any other set of files stay there.
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
    """Open the decoded images, decoding what nobody has yet; processes that ask at once decode once.

    Raises:
        TlftError: if a file vanished or changed, or the cache cannot be written.
    """
    store = open_store(cache / _name_of_store(transform))
    store.look()
    store.drop_damaged(map(_key_of_bad, files))
    complete = partial(_complete, store, files, transform, workers)
    complete()
    good = [digest for digest in files if digest in store]
    bad = {digest: bytes(store.read(_key_of_bad(digest))).decode() for digest in files if digest not in store}
    store.touch([*good, *map(_key_of_bad, bad)])

    def write_anew() -> None:
        store.drop_damaged(files)
        again = len(_missing(store, files))
        log.warning("%s: decoded images that are damaged or deleted: %d; decoding them anew", store.folder, again)
        complete()

    rows = {digest: row for row, digest in enumerate(good)}
    return DecodedImages(StoredPixels(store, good, transform.crop, write_anew), rows, bad)


def _name_of_store(transform: Transform) -> str:
    """Return what the folder is called whose records any transform can take its crops of that scales alike."""
    geometry = (transform.resize, transform.interpolation, _longest(transform), *transform.peculiarities)
    return name_of_decoded("-".join(map(str, geometry)))


def _key_of_bad(digest: str) -> str:
    """Return what the record has for a key that says why a file is no image."""
    return f"{digest} bad"


def _missing(store: RecordStore, files: Mapping[str, Path]) -> dict[str, Path]:
    return {digest: path for digest, path in files.items() if digest not in store and _key_of_bad(digest) not in store}


def _complete(store: RecordStore, files: Mapping[str, Path], transform: Transform, workers: int) -> None:
    """Decode those files that have no record."""
    if not _missing(store, files):
        return
    cache = store.folder.parent
    if any(former_caches(cache)):
        command = f"{invocation('clean')} --yes"
        log.info("%s: decoded images of an earlier version are not used any more; %s deletes them", cache, command)
    try:
        with store.appending(_WAITING) as appender:
            _decode(_missing(store, files), transform, workers, appender)
    except OSError as error:
        reason = f"{error.strerror or error}); {mend_of_home(error)}"
        raise TlftError(f"{store.folder}: cannot write the decoded images ({reason}") from None


def _decode(files: Mapping[str, Path], transform: Transform, workers: int, appender: Appender) -> None:
    # the pool's threads must not set filters themselves: they are shared by all threads
    with warnings.catch_warnings(), keeping_freed(), ThreadPoolExecutor(workers) as pool:
        warnings.filterwarnings("ignore", module="PIL")

        def load(digest: str) -> np.ndarray:
            return record_of(load_scaled(files[digest], transform, digest), transform.crop)

        results = in_order(pool, load, files)
        with progress("decoding images", len(files), "images") as advance:
            for number, (digest, record) in enumerate(zip(files, results, strict=True)):
                if isinstance(record, BadImageError):
                    appender.append(_key_of_bad(digest), np.frombuffer(record.reason.encode(), np.uint8))
                elif isinstance(record, TlftError):
                    raise record
                else:
                    appender.append(digest, record)
                advance(1)
                if number % _BETWEEN_LOOKS == 0:
                    bound_freed()


def in_order(
    pool: ThreadPoolExecutor, function: Callable[[_In], _Out], items: Iterable[_In]
) -> Iterator[_Out | TlftError]:
    """Map, with a TlftError in place of the result that it prevented, and a bounded number of results in memory.

    `Executor.map` would end at the first error, and keep all results that are not yet taken.
    """
    futures = (pool.submit(function, item) for item in items)
    pending = deque(islice(futures, _BETWEEN_LOOKS))
    while pending:
        future = pending.popleft()
        error = future.exception()
        yield error if isinstance(error, TlftError) else future.result()
        pending.extend(islice(futures, 1))
