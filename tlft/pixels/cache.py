"""What caches take on the disk, which of their shards go first, and what killed processes and earlier versions left.

Decoded images and features are kept alike: stores of records (`tlft.storage.records`), each a folder of shards.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import Timeout

from tlft.commands import invocation
from tlft.runtime.garbage import Waste, size_of
from tlft.storage.locks import locked
from tlft.storage.records import is_damaged, last_used, lock_of, shards_of

log = logging.getLogger(__name__)

_KINDS = {"decoded": "decoded images", "features": "features"}
"""Folder in the home's cache -> what the stores there hold."""


def caches_over(home: Path, max_gb: float) -> Iterator[Waste]:
    """Yield the shards of decoded images and features that are too many for `max_gb`, the longest unused first.

    A run that has one open keeps it until it ends.
    """
    shards = [shard for folder in _stores(home) for shard in shards_of(folder) if not is_damaged(shard)]
    sizes = {shard: size_of(shard) for shard in shards}
    total = sum(sizes.values())
    for shard in sorted(sizes, key=last_used):
        if total <= max_gb * 1e9:
            return
        with _nobody_writes(shard.parent) as is_free:
            if is_free:
                day = time.strftime("%Y-%m-%d", time.localtime(last_used(shard)))
                yield Waste(shard, f"{_KINDS[shard.parent.parent.name]}, last used on {day}")
                total -= sizes[shard]


def warn_of_caches(home: Path, max_gb: float | None) -> None:
    """Say that caches take more than they may; a run deletes none, since another may be about to open them."""
    if max_gb is None:
        return
    size = sum(size_of(shard) for folder in _stores(home) for shard in shards_of(folder))
    if size > max_gb * 1e9:
        message = "decoded images and features take %.1f GB, more than cache.max_gb=%g; %s says which go"
        log.warning(message, size / 1e9, max_gb, f"{invocation('clean')} --max-gb {max_gb:g}")


def useless_caches(home: Path) -> Iterator[Waste]:
    """Yield what killed processes left half written, what is damaged, and what an earlier version decoded."""
    for folder in _stores(home):
        with _nobody_writes(folder) as is_free:
            if is_free:
                what = _KINDS[folder.parent.name]
                for half in sorted(folder.glob("*.partial")):
                    yield Waste(half, f"half of {what}, of a process that was killed")
                for shard in shards_of(folder):
                    if is_damaged(shard):
                        yield Waste(shard, f"{what}, damaged")
    for folder in sorted(former_caches(home / "cache" / "decoded")):
        with _nobody_writes(folder) as is_free:
            if is_free:
                yield Waste(folder, "decoded images of an earlier version")


def former_caches(decoded: Path) -> Iterator[Path]:
    """Yield the folders that earlier versions made for decoded images, whole or half: an array for each set of them."""
    for path in decoded.glob("*"):
        if path.suffix == ".partial" or (path / "images.npy").exists():
            yield path


def _stores(home: Path) -> list[Path]:
    folders = [path for kind in _KINDS for path in sorted((home / "cache" / kind).glob("*")) if path.is_dir()]
    return [path for path in folders if path.suffix != ".partial" and not (path / "images.npy").exists()]


@contextmanager
def _nobody_writes(folder: Path) -> Iterator[bool]:
    """Have a store for oneself within the block, if nobody writes to it now."""
    with ExitStack() as held:
        is_free = True
        try:
            held.enter_context(locked(lock_of(folder.with_suffix("") if folder.suffix == ".partial" else folder), 0))
        except Timeout:
            is_free = False
        yield is_free
