"""What caches take on the disk, which of their shards go first, and what killed processes and earlier versions left.

Decoded images and features are kept alike: stores of records (`tlft.storage.records`), each a folder of shards.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from filelock import Timeout

from tlft.commands import invocation
from tlft.pixels.versions import other_version, versions_in_name, versions_of_features
from tlft.runtime.garbage import UNUSED_SECONDS, Waste, size_of
from tlft.storage.locks import locked
from tlft.storage.records import is_damaged, last_used, lock_of, shards_of

log = logging.getLogger(__name__)

_KINDS = {"decoded": "decoded images", "features": "features"}
"""Folder in the home's cache -> what the stores there hold."""


def caches_over(home: Path, max_gb: float) -> Iterator[Waste]:
    """Yield the shards of decoded images and features that are too many for `max_gb`, the longest unused first.

    A run that has one open keeps it until it ends.
    """
    folders = [folder for folder in _stores(home) if not _outdated(folder)]
    shards = [shard for folder in folders for shard in shards_of(folder) if not is_damaged(shard)]
    sizes = {shard: size_of(shard) for shard in shards}
    total = sum(sizes.values())
    for shard in sorted(sizes, key=last_used):
        if total <= max_gb * 1e9:
            return
        day = time.strftime("%Y-%m-%d", time.localtime(last_used(shard)))
        for waste in _if_free(shard.parent, [Waste(shard, f"{_KINDS[shard.parent.parent.name]}, last used on {day}")]):
            yield waste
            total -= 0 if waste.kept else sizes[shard]


def warn_of_caches(home: Path, max_gb: float | None) -> None:
    """Say that caches take more than they may; a run deletes none, since another may be about to open them."""
    if max_gb is None:
        return
    size = sum(size_of(shard) for folder in _stores(home) for shard in shards_of(folder))
    if size > max_gb * 1e9:
        message = "decoded images and features take %.1f GB, more than cache.max_gb=%g; %s says which go"
        log.warning(message, size / 1e9, max_gb, f"{invocation('clean')} --max-gb {max_gb:g}")


def useless_caches(home: Path) -> Iterator[Waste]:
    """Yield what killed processes left half written, what is damaged, and what is of other versions and unused."""
    for folder in _stores(home):
        yield from _if_free(folder, _useless_in(folder))
    for folder in sorted(former_caches(home / "cache" / "decoded")):
        yield from _if_free(folder, [Waste(folder, "decoded images of an earlier version")])


def _useless_in(folder: Path) -> Iterator[Waste]:
    if why := _outdated(folder):
        yield Waste(folder, why)
        return
    what = _KINDS[folder.parent.name]
    for half in sorted(folder.glob("*.partial")):
        yield Waste(half, f"half of {what}, of a process that was killed")
    for shard in shards_of(folder):
        if is_damaged(shard):
            yield Waste(shard, f"{what}, damaged")


def _outdated(folder: Path) -> str:
    """Return why a store is not needed, if it is of versions that are not here; nothing if it may be.

    Another installation may share the home, which uses what this one cannot: so a month must have passed.
    """
    try:
        used = max(folder.stat().st_mtime, *map(last_used, shards_of(folder)), 0.0)
        if used > time.time() - UNUSED_SECONDS:
            return ""
        is_decoded = folder.parent.name == "decoded"
        versions = versions_in_name(folder.name) if is_decoded else versions_of_features(folder)
    except OSError:  # it is deleted in this moment, or may not be read
        return ""
    what = f"{_KINDS[folder.parent.name]}, unused for a month"
    if versions is None:
        return "" if is_decoded else f"{what}, that do not say what computed them"
    other = other_version(versions)
    return other and f"{what}, of another version of {other}; computed anew when needed"


def former_caches(decoded: Path) -> Iterator[Path]:
    """Yield the folders that earlier versions made for decoded images, whole or half: an array for each set of them."""
    for path in decoded.glob("*"):
        if path.suffix == ".partial" or (path / "images.npy").exists():
            yield path


def _stores(home: Path) -> list[Path]:
    folders = [path for kind in _KINDS for path in sorted((home / "cache" / kind).glob("*")) if path.is_dir()]
    return [path for path in folders if path.suffix != ".partial" and not (path / "images.npy").exists()]


def _if_free(folder: Path, wastes: Iterable[Waste]) -> Iterator[Waste]:
    """Yield what is waste in a store while nobody else writes to it; as kept, where that cannot be told."""
    with ExitStack() as held:
        reason = ""
        try:
            held.enter_context(locked(lock_of(folder.with_suffix("") if folder.suffix == ".partial" else folder), 0))
        except Timeout:
            return
        except OSError as error:  # such as a folder that may only be read
            reason = f"cannot be locked ({error.strerror or error})"
        for waste in wastes:
            yield replace(waste, why=f"{waste.why}; {reason}", kept=True) if reason else waste
