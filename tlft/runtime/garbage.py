"""Find what a home holds that nobody needs, as far as names, locks and times on the disk tell.

Decoded images are known to `tlft.pixels.cache`, and what MLflow must be asked for to `tlft.tracking.garbage`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tlft.runtime.claims import Claim
from tlft.storage.files import temporary_files

_WRITTEN_BY_JOBS = ("outcome.json", "progress.json", "sweep.csv", "sweep.json", "report.html")
UNUSED_SECONDS = 30 * 24 * 3600.0
STALE_SECONDS = 3600.0  # after the last write a temporary file is nobody's: what is being written takes seconds


@dataclass(frozen=True)
class Waste:
    """Something on the disk that may be deleted while it is yielded, or that only seems so.

    Attributes:
        path: a file or a folder that is there.
        why: it may be deleted, or not.
        kept: whether it must stay, for a reason that somebody should know.
        claim: whose file it is; it is deleted by taking the claim and giving it back, if nobody has it by then.
    """

    path: Path
    why: str
    kept: bool = False
    claim: Claim | None = None

    @cached_property
    def size(self) -> int:
        """Bytes that it took when it was first asked."""
        return size_of(self.path)

    def delete(self) -> None:
        """Delete the file or the folder."""
        if self.claim is not None:
            if self.claim.acquire():
                self.claim.release()
        elif self.path.is_dir() and not self.path.is_symlink():
            shutil.rmtree(self.path)
        else:
            self.path.unlink(missing_ok=True)


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder; what vanishes meanwhile counts nothing."""
    total = 0
    for file in path.rglob("*") if path.is_dir() else [path]:
        with suppress(OSError):
            total += 0 if file.is_dir() else file.lstat().st_size
    return total


def leftovers(home: Path) -> Iterator[Waste]:
    """Yield what processes left behind that were killed: temporary files, words of owners.

    What lies in an unfinished run's folder is not looked at: the run, or its deletion, takes care of it.
    """
    old = time.time() - STALE_SECONDS
    temporary = [*temporary_files(home, "mlflow.db"), *temporary_files(home / "cache", below=True)]
    for place in ("outputs", "multirun"):  # where users keep files of their own too
        temporary += temporary_files(home / place, *_WRITTEN_BY_JOBS, below=True)
    locks = home / "cache" / "locks"
    for path in sorted(temporary):
        if path.exists() and path.stat().st_mtime < old:
            yield Waste(path, "a temporary file of a process that was killed")
    for path in sorted((home / "cache" / "predictions").glob("*.parquet")):
        if path.stat().st_mtime < time.time() - UNUSED_SECONDS:
            yield Waste(path, "of an experiment without a new run for a month; the next note makes it anew")
    kinds = (".claim", ".lease", ".lock", ".owner")  # the last: of earlier versions
    claims = {path.name.partition(".")[0]: path for path in sorted(locks.glob("*.*")) if path.suffix in kinds}
    for name, path in claims.items():
        claim = Claim(locks, name)
        if claim.owner() is None:
            yield Waste(path, "of a process that is gone", claim=claim)
