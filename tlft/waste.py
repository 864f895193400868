"""Find what a home holds that nobody needs, as far as names, locks and times on the disk tell.

What MLflow must be asked for is the business of `tlft.tracking`.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from tlft.claims import Claim, owner_of
from tlft.decode import last_used

log = logging.getLogger(__name__)

STALE_SECONDS = 3600.0
"""A temporary file that nobody has written to for so long is nobody's: what is being written takes seconds."""


@dataclass(frozen=True)
class Waste:
    """Something on the disk that may be deleted while it is yielded, or that only seems so.

    Attributes:
        path: a file or a folder.
        why: it may be deleted, or not.
        size: bytes.
        kept: whether it must stay, for a reason that somebody should know.
        delete: deletes it.
    """

    path: Path
    why: str
    size: int
    kept: bool
    delete: Callable[[], None]


def waste(path: Path, why: str, *, kept: bool = False, delete: Callable[[], None] | None = None) -> Waste:
    """Describe a file or a folder that is there."""
    return Waste(path, why, size_of(path), kept, delete or partial(_delete, path))


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder; what vanishes meanwhile counts nothing."""
    total = 0
    for file in path.rglob("*") if path.is_dir() else [path]:
        try:
            total += 0 if file.is_dir() else file.lstat().st_size
        except OSError:
            continue
    return total


def caches_over(home: Path, max_gb: float) -> Iterator[Waste]:
    """Yield the decoded images that are too many for `max_gb`, the least recently used first.

    A run that has them open keeps them until it ends.
    """
    folders = [folder for folder in (home / "cache" / "decoded").glob("*") if folder.is_dir() and not folder.suffix]
    sizes = {folder: size_of(folder) for folder in folders}
    total = sum(sizes.values())
    for folder in sorted(folders, key=last_used):
        if total <= max_gb * 1e9:
            return
        try:
            with FileLock(folder.with_suffix(".lock"), timeout=0):
                day = time.strftime("%Y-%m-%d", time.localtime(last_used(folder)))
                yield waste(folder, f"decoded images, last used on {day}")
        except Timeout:  # somebody decodes these very images
            continue
        total -= sizes[folder]


def warn_of_caches(home: Path, max_gb: float | None) -> None:
    """Say that decoded images take more than they may; a run deletes none, since another may be about to open them."""
    if max_gb is not None and (size := size_of(home / "cache" / "decoded")) > max_gb * 1e9:
        asked = f"python -m tlft.clean --max-gb {max_gb:g}"
        log.warning(
            "decoded images take %.1f GB, more than cache.max_gb=%g; %s says which go", size / 1e9, max_gb, asked
        )


def leftovers(home: Path) -> Iterator[Waste]:
    """Yield what processes left behind that were killed: temporary files, halves of caches, words of owners.

    What lies in an unfinished run's folder is not looked at: the run, or its deletion, takes care of it.
    """
    old = time.time() - STALE_SECONDS
    places = [home / name for name in ("cache", "outputs", "multirun")]
    temporary = [*home.glob("mlflow.db.*.tmp*"), *(path for place in places for path in place.rglob("*.tmp*"))]
    locks = home / "cache" / "locks"
    for path in sorted(temporary):
        if path.exists() and path.stat().st_mtime < old:
            yield waste(path, "a temporary file of a process that was killed")
    for path in sorted((home / "cache" / "decoded").glob("*.partial")):
        try:
            with FileLock(path.with_suffix(".lock"), timeout=0):
                yield waste(path, "half of decoded images, of a process that was killed")
        except Timeout:
            continue
    for path in sorted(locks.glob("*.owner")):
        if owner_of(locks, path.stem) is None:
            yield waste(path, "names an owner that is gone", delete=partial(_forget_owner, locks, path.stem))
    for path in sorted(locks.glob("*.lock")):
        if owner_of(locks, path.stem) is None:
            yield waste(path, "the lock of a process that is gone", delete=partial(path.unlink, missing_ok=True))


def _delete(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def _forget_owner(locks: Path, name: str) -> None:
    claim = Claim(locks, name)
    if claim.acquire():
        claim.release()
