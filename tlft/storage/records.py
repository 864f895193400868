"""Keep records of bytes under keys, in shards that processes append and others read at once, whole after any death.

A store is a folder of shards, a folder each: `records.bin` holds records one after the other, `index.npy` says which
and where. A shard is filled beside, as `NNNNNN.partial`, and moved into place when it is whole on the disk; it never
changes after that, so that readers need no lock and map the file into memory. Writers take the store's lock.
"""

from __future__ import annotations

import os
import shutil
import threading
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import repeat
from pathlib import Path
from time import monotonic
from typing import IO

import numpy as np

from tlft.storage.locks import one_at_a_time

LARGEST_SHARD = 256_000_000
LONGEST_OPEN = 60.0
"""Bytes, and seconds, after which a shard is closed: a killed process loses no more than what it has written since."""

_ALIGNMENT = 64  # records begin at whole cache lines, as arithmetic likes its arrays
_HEADER = b"tlft records, format 2\n".ljust(_ALIGNMENT)  # and no file of records is ever empty, which cannot be mapped
_INDEX = np.dtype([("key", "S80"), ("offset", "<u8"), ("length", "<u8"), ("checksum", "<u4")])


@dataclass(frozen=True, eq=False)
class _Shard:
    """A shard that is open: its folder, its file as the system knows it, and the bytes of that, mapped."""

    path: Path
    file: tuple[int, int]
    records: np.ndarray


_Place = tuple[_Shard, int, int, int | None]
"""Where a record lies: in which shard, from which byte to which, and their checksum until it was seen to be right."""


@dataclass
class RecordStore:
    """The records in a folder, as far as they were there when it was last looked at; keys are ASCII, 80 at most.

    Threads may read it at once, also while one looks.
    """

    folder: Path
    _places: dict[bytes, _Place] = field(default_factory=dict, init=False, repr=False)
    _shards: dict[Path, _Shard] = field(default_factory=dict, init=False, repr=False)
    _looking: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        self.look()

    @property
    def lock_file(self) -> Path:
        """What a writer locks, and whoever deletes shards."""
        return lock_of(self.folder)

    def look(self) -> None:
        """Read the indexes of shards that have come since, and forget those of shards that have gone."""
        with self._looking:
            there = {path: _file_of(path / "records.bin") for path in shards_of(self.folder)}
            shards = {path: shard for path, shard in self._shards.items() if there.get(path) == shard.file}
            places = self._places.copy()  # whoever reads meanwhile has the one that was
            if len(shards) < len(self._shards):
                places = {key: place for key, place in places.items() if shards.get(place[0].path) is place[0]}
            for path in sorted(there.keys() - shards.keys()):
                if (opened := _open_shard(path)) is not None:
                    shards[path], index = opened
                    keys, begins = index["key"].tolist(), index["offset"]
                    ends, checksums = (begins + index["length"]).tolist(), index["checksum"].tolist()
                    places.update(zip(keys, zip(repeat(shards[path]), begins.tolist(), ends, checksums), strict=False))
            self._shards, self._places = shards, places

    def __contains__(self, key: str) -> bool:
        return key.encode() in self._places

    def __len__(self) -> int:
        return len(self._places)

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Return the keys that have no record, in their order, each once."""
        return [key for key in dict.fromkeys(keys) if key not in self]

    def read(self, key: str) -> np.ndarray:
        """Return a record's bytes, uint8 [length], read-only and mapped: they cost memory that the system takes back.

        Raises:
            KeyError: if there is none.
        """
        shard, begin, end, _ = self._places[key.encode()]
        return shard.records[begin:end]

    def read_sound(self, key: str) -> np.ndarray | None:
        """Return a record as `read` does; None if there is none, or one whose bytes are not what was written.

        That is looked at when a record is first read so; a damaged one is forgotten.
        """
        name = key.encode()
        if (place := self._places.get(name)) is None:
            return None
        shard, begin, end, checksum = place
        record = shard.records[begin:end]
        if checksum is not None:
            if zlib.crc32(record.data) != checksum:
                self._places.pop(name, None)
                return None
            self._places[name] = (shard, begin, end, None)
        return record

    def drop_damaged(self, keys: Iterable[str], length: int | None = None) -> list[str]:
        """Forget those records whose bytes are not what was written, and return their keys; each is looked at once.

        Where each record has one `length`, any other is damaged too.
        """
        return [key for key in keys if key in self and not self._keep_sound(key, length)]

    def _keep_sound(self, key: str, length: int | None) -> bool:
        record = self.read_sound(key)
        if record is None or length in (None, len(record)):
            return record is not None
        self._places.pop(key.encode(), None)
        return False

    def touch(self, keys: Iterable[str]) -> None:
        """Note that these records are used now, for whoever deletes the longest unused; a store may be read-only."""
        for path in {self._places[key.encode()][0].path for key in keys}:
            with suppress(OSError):
                os.utime(path / "index.npy")

    @contextmanager
    def appending(self, waiting: str) -> Iterator[Appender]:
        """Have the store for oneself within the block, to append what is still missing; `waiting` is said if need be.

        What was appended stays, also when the block ends by an error.

        Raises:
            OSError: if the disk takes it not.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with one_at_a_time(self.lock_file, waiting):
            for leftover in self.folder.glob("*.partial"):  # of a killed process: whoever still writes holds the lock
                shutil.rmtree(leftover, ignore_errors=True)
            self.look()
            appender = Appender(self.folder)
            try:
                yield appender
            finally:
                try:
                    appender.close()
                finally:
                    self.look()


class Appender:
    """Append records to a store that is locked; a shard that is full is closed, and another begun."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._index: list[tuple[bytes, int, int, int]] = []
        self._size = 0
        self._opened = 0.0

    @property
    def _partial(self) -> Path:
        return self._folder / "next.partial"

    def append(self, key: str, record: np.ndarray) -> None:
        """Append the bytes of an array under a key.

        Raises:
            OSError: if the disk takes it not; the shard is given up.
        """
        data = np.ascontiguousarray(record).reshape(-1).view(np.uint8)
        length = len(data)
        try:
            if self._file is None:
                self._partial.mkdir()
                self._file = (self._partial / "records.bin").open("wb")
                self._size, self._opened = self._file.write(_HEADER), monotonic()
            # written, not mapped: a full disk is an error here, and would kill the process at a mapped page
            self._file.write(data.data)
            self._file.write(bytes(-length % _ALIGNMENT))
        except OSError:
            self._give_up()
            raise
        self._index.append((key.encode("ascii"), self._size, length, zlib.crc32(data.data)))
        self._size += length + -length % _ALIGNMENT
        if self._size >= LARGEST_SHARD or monotonic() - self._opened >= LONGEST_OPEN:
            self.close()

    def close(self) -> None:
        """Finish the shard that is open, if there is one, and move it into place.

        Raises:
            OSError: if the disk takes it not; the shard is given up.
        """
        if self._file is None:
            return
        try:
            self._file.close()  # and not waited for: what a power cut takes of it is told by lengths and checksums
            with (self._partial / "index.npy").open("wb") as file:
                np.save(file, np.array(self._index, _INDEX))
                file.flush()
                os.fsync(file.fileno())
            newest = max((int(shard.name) for shard in shards_of(self._folder)), default=0)
            self._partial.rename(self._folder / f"{newest + 1:06d}")
        finally:
            self._give_up()

    def _give_up(self) -> None:
        if self._file is not None:
            with suppress(OSError):  # what is still in its buffer finds no room either
                self._file.close()
        self._file, self._index, self._size = None, [], 0
        shutil.rmtree(self._partial, ignore_errors=True)


@cache
def open_store(folder: Path) -> RecordStore:
    """Return the store of a folder, one in a process: each of its records is looked at for damage once."""
    return RecordStore(folder)


def lock_of(folder: Path) -> Path:
    """Return what a store's writer locks, and whoever deletes shards of it."""
    return folder.with_name(f"{folder.name}.lock")


def shards_of(folder: Path) -> list[Path]:
    """Return the shards of a store, oldest first."""
    return sorted(path for path in folder.glob("[0-9]*") if path.name.isdecimal())


def last_used(shard: Path) -> float:
    """Return when records of a shard were last used, in seconds since 1970; 0 for a folder that is none."""
    try:
        return (shard / "index.npy").stat().st_mtime
    except OSError:
        return 0.0


def is_damaged(shard: Path) -> bool:
    """Tell whether a shard cannot be opened; one that was deleted meanwhile cannot either."""
    return _open_shard(shard) is None


def _open_shard(path: Path) -> tuple[_Shard, np.ndarray] | None:
    """Return a shard and its index; None if it is damaged, or deleted meanwhile: as if it were not there."""
    try:
        index = np.load(path / "index.npy")
        with (path / "records.bin").open("rb") as file:
            records = np.memmap(file, np.uint8, "r").view(np.ndarray)  # whose parts are made in less time
            state = os.fstat(file.fileno())
    except Exception:  # NumPy raises anything that it meets in a damaged header, MemoryError too
        return None
    if index.dtype != _INDEX or index.ndim != 1 or bytes(records[:_ALIGNMENT]) != _HEADER:
        return None
    begins, room = index["offset"], np.uint64(len(records))
    if (begins > room).any() or (index["length"] > room - begins).any():
        return None
    return _Shard(path, (state.st_ino, state.st_size), records), index


def _file_of(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from another of its name, and from itself cut short; None if there is none."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_ino, state.st_size
