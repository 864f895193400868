"""Serve images out of records that hold them whole: centre crops in batches, or what else is taken of them."""

from __future__ import annotations

import math
import struct
import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tlft.storage.records import RecordStore

_HEADER = struct.Struct("<III52x")
"""Height and width of an image, and the side of the square that is kept in one piece; a cache line in all."""


def record_of(image: np.ndarray, crop: int) -> np.ndarray:
    """Return the record of an image, uint8 [height, width, 3]: `_HEADER`, and the image in pieces.

    The first is the centre crop of side `crop`, so that it is served in one stroke; the rest lies around it.
    """
    height, width, _ = image.shape
    square = crop if crop <= min(height, width) else 0
    record = np.empty(_HEADER.size + image.size, np.uint8)
    _HEADER.pack_into(record.data, 0, height, width, square)
    for piece, region in _pieces(record, height, width, square):
        piece[...] = image[region]
    return record


def _pieces(
    record: np.ndarray, height: int, width: int, square: int
) -> Iterator[tuple[np.ndarray, tuple[slice, slice]]]:
    """Yield the pieces of a record, uint8 [h, w, 3], and where in the image each belongs."""
    top, left = centre_offset(height, square), centre_offset(width, square)
    bottom, right = top + square, left + square
    begin = _HEADER.size
    for rows, columns in (
        (slice(top, bottom), slice(left, right)),
        (slice(0, top), slice(0, width)),
        (slice(bottom, height), slice(0, width)),
        (slice(top, bottom), slice(0, left)),
        (slice(top, bottom), slice(right, width)),
    ):
        shape = (rows.stop - rows.start, columns.stop - columns.start, 3)
        end = begin + math.prod(shape)
        yield record[begin:end].reshape(shape), (rows, columns)
        begin = end


def centre_offset(side: int, crop: int) -> int:
    """Return where the crop begins; torchvision rounds padding down, and half a pixel of a cut to even."""
    return -((crop - side) // 2) if crop > side else round((side - crop) / 2)


def cut_centre(image: np.ndarray, out: np.ndarray) -> None:
    """Copy the centre of an image, uint8 [height, width, 3], into `out`, [crop, crop, 3]; black where it is smaller."""
    height, width, _ = image.shape
    crop = len(out)
    top, left = centre_offset(height, crop), centre_offset(width, crop)
    if top < 0 or left < 0:
        out[...] = 0
        out = out[max(-top, 0) : max(-top, 0) + height, max(-left, 0) : max(-left, 0) + width]
        top, left = max(top, 0), max(left, 0)
    out[...] = image[top : top + len(out), left : left + out.shape[1]]


class StoredPixels:
    """Images in a fixed order, each a record in a store, served as centre crops of one size.

    `pixels[rows]`, int64 [b], returns an array of its own, uint8 [b, crop, crop, 3]. A record is looked at for damage
    when the process first reads it; threads may read at once.
    """

    def __init__(self, store: RecordStore, keys: Sequence[str], crop: int, write_anew: Callable[[], None]) -> None:
        """Serve some records.

        Args:
            store: has them.
            keys: of the record of each row.
            crop: side of the squares that are served.
            write_anew: called if a record turns out to be damaged, or was deleted; has all of them in the store again,
                or raises a TlftError.
        """
        self._store, self._keys, self._crop, self._write_anew = store, keys, crop, write_anew
        self._writing = threading.Lock()

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        batch = np.empty((len(rows), self._crop, self._crop, 3), np.uint8)
        for out, row in zip(batch, rows.tolist(), strict=True):
            self._serve(row, out)
        return batch

    def centre(self, row: int) -> np.ndarray:
        """Return the centre of one image, uint8 [crop, crop, 3]."""
        out = np.empty((self._crop, self._crop, 3), np.uint8)
        self._serve(row, out)
        return out

    def whole(self, row: int) -> np.ndarray:
        """Return one image uncropped, uint8 [height, width, 3], an array of its own, for any other crop of it.

        Raises:
            TlftError: if its record is damaged, and its file cannot be decoded again.
        """
        record = self._record(row)
        height, width, square = _HEADER.unpack_from(record.data)
        image = np.empty((height, width, 3), np.uint8)
        for piece, region in _pieces(record, height, width, square):
            image[region] = piece
        return image

    def _serve(self, row: int, out: np.ndarray) -> None:
        record = self._record(row)
        _, _, square = _HEADER.unpack_from(record.data)
        if square == self._crop:
            out[...] = record[_HEADER.size : _HEADER.size + out.size].reshape(out.shape)
        else:
            cut_centre(self.whole(row), out)

    def _record(self, row: int) -> np.ndarray:
        record = self._store.read_sound(self._keys[row])
        return self._read_again(self._keys[row]) if record is None else record

    def _read_again(self, key: str) -> np.ndarray:
        with self._writing:  # of several threads that meet damage, one writes
            if (record := self._store.read_sound(key)) is None:
                self._write_anew()
                record = self._store.read(key)
        return record
