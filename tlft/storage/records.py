"""Keep records of bytes under keys, in shards that processes append and others read at once, whole after any death.

A store is a folder of shards, a folder each: `records.bin` holds records one after the other, `index.npy` says which
and where. A shard is filled beside, as `NNNNNN.partial`, and moved into place when it is whole on the disk; it never
changes after that, so that readers need no lock and map the file into memory. Writers take the store's lock.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np

from tlft.storage.locks import one_at_a_time

log = logging.getLogger(__name__)

LARGEST_SHARD = 256_000_000
"""Bytes after which a shard is closed: a process that is killed loses no more than what it has written since."""

_ALIGNMENT = 64  # records begin at whole cache lines, as arithmetic likes its arrays
_HEADER = b"tlft records, format 1\n".ljust(_ALIGNMENT)  # and no file of records is ever empty, which cannot be mapped
_DIGEST_BYTES = 16
_INDEX = np.dtype([("key", "S80"), ("offset", "<u8"), ("length", "<u8"), ("digest", f"V{_DIGEST_BYTES}")])


@dataclass(frozen=True)
class _Place:
    """Where a record lies: in which shard, from which byte, how many, and the digest that they had."""

    shard: Path
    offset: int
    length: int
    digest: bytes


@dataclass
class RecordStore:
    """The records in a folder, as far as they were there when it was last looked at; keys are ASCII, 80 at most."""

    folder: Path
    _places: dict[str, _Place] = field(default_factory=dict, init=False, repr=False)
    _maps: dict[Path, np.ndarray] = field(default_factory=dict, init=False, repr=False)
    _sound: set[str] = field(default_factory=set, init=False, repr=False)

    def __post_init__(self) -> None:
        self.look()

    @property
    def lock_file(self) -> Path:
        """What a writer locks, and whoever deletes shards."""
        return self.folder.with_name(f"{self.folder.name}.lock")

    def look(self) -> None:
        """Read the indexes of shards that have come since, and forget those of shards that have gone."""
        shards = set(shards_of(self.folder))
        self._places = {key: place for key, place in self._places.items() if place.shard in shards}
        self._maps = {shard: records for shard, records in self._maps.items() if shard in shards}
        for shard in sorted(shards - self._maps.keys()):
            with suppress(OSError, EOFError, ValueError):  # damaged, or deleted meanwhile: as if it were not there
                index = np.load(shard / "index.npy")
                records = np.memmap(shard / "records.bin", np.uint8, "r")
                if index.dtype != _INDEX or (
                    len(index) and int((index["offset"] + index["length"]).max()) > len(records)
                ):
                    continue
                self._maps[shard] = records.view(np.ndarray)  # whose parts are made in less time
                for key, offset, length, digest in index.tolist():
                    self._places[key.decode("ascii")] = _Place(shard, offset, length, digest)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Return the keys that have no record, in their order, each once."""
        return [key for key in dict.fromkeys(keys) if key not in self._places]

    def read(self, key: str) -> np.ndarray:
        """Return a record's bytes, uint8 [length], read-only and mapped: they cost memory that the system takes back.

        Raises:
            KeyError: if there is none.
        """
        place = self._places[key]
        return self._maps[place.shard][place.offset : place.offset + place.length]

    def drop_damaged(self, keys: Iterable[str]) -> list[str]:
        """Forget those records whose bytes are not what was written, and return their keys; each is looked at once."""
        damaged = []
        for key in keys:
            if key in self._places and key not in self._sound:
                if _digest(self.read(key)) == self._places[key].digest:
                    self._sound.add(key)
                else:
                    damaged.append(key)
        for key in damaged:
            del self._places[key]
        return damaged

    def touch(self, keys: Iterable[str]) -> None:
        """Note that these records are used now, for whoever deletes the longest unused; a store may be read-only."""
        for shard in {self._places[key].shard for key in keys}:
            with suppress(OSError):
                os.utime(shard / "index.npy")

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
        self._index: list[tuple[bytes, int, int, bytes]] = []
        self._size = 0

    @property
    def _partial(self) -> Path:
        return self._folder / "next.partial"

    def append(self, key: str, record: np.ndarray) -> None:
        """Append the bytes of an array under a key.

        Raises:
            OSError: if the disk takes it not; the shard is given up.
        """
        data = np.ascontiguousarray(record).reshape(-1).view(np.uint8)
        try:
            if self._file is None:
                self._partial.mkdir()
                self._file = (self._partial / "records.bin").open("wb")
                self._size = self._file.write(_HEADER)
            # written, not mapped: a full disk is an error here, and would kill the process at a mapped page
            self._file.write(data.data)
            self._file.write(bytes(-len(data) % _ALIGNMENT))
        except OSError:
            self._give_up()
            raise
        self._index.append((key.encode("ascii"), self._size, len(data), _digest(data)))
        self._size += len(data) + -len(data) % _ALIGNMENT
        if self._size >= LARGEST_SHARD:
            self.close()

    def close(self) -> None:
        """Finish the shard that is open, if there is one, and move it into place.

        Raises:
            OSError: if the disk takes it not; the shard is given up.
        """
        if self._file is None:
            return
        try:
            with self._file as file:
                file.flush()
                os.fsync(file.fileno())
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


def shards_of(folder: Path) -> list[Path]:
    """Return the shards of a store, oldest first."""
    return sorted(path for path in folder.glob("[0-9]*") if path.name.isdecimal())


def last_used(shard: Path) -> float:
    """Return when records of a shard were last used, in seconds since 1970; 0 for a folder that is none."""
    try:
        return (shard / "index.npy").stat().st_mtime
    except OSError:
        return 0.0


def _digest(data: np.ndarray) -> bytes:
    return hashlib.blake2b(data.data, digest_size=_DIGEST_BYTES).digest()
