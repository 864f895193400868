"""Find what a home holds that nobody needs, as far as names, locks and times on the disk tell.

Decoded images are known to `tlft.data.cache`, and what MLflow must be asked for to `tlft.tracking`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tlft.runtime.claims import Claim, owner_of

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


def leftovers(home: Path) -> Iterator[Waste]:
    """Yield what processes left behind that were killed: temporary files, words of owners.

    What lies in an unfinished run's folder is not looked at: the run, or its deletion, takes care of it.
    """
    old = time.time() - STALE_SECONDS
    places = [home / name for name in ("cache", "outputs", "multirun")]
    temporary = [*home.glob("mlflow.db.*.tmp*"), *(path for place in places for path in place.rglob("*.tmp*"))]
    locks = home / "cache" / "locks"
    for path in sorted(temporary):
        if path.exists() and path.stat().st_mtime < old:
            yield waste(path, "a temporary file of a process that was killed")
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
