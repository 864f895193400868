"""What decoded images take on the disk, which of them go first, and what killed processes left of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from filelock import Timeout

from tlft.commands import invocation
from tlft.runtime.garbage import Waste, size_of
from tlft.storage.locks import locked

log = logging.getLogger(__name__)


def last_used(folder: Path) -> float:
    """Return when decoded images were last opened, in seconds since 1970; 0 for a folder that is none."""
    try:
        return (folder / "index.json").stat().st_mtime
    except OSError:
        return 0.0


def caches_over(home: Path, max_gb: float) -> Iterator[Waste]:
    """Yield the decoded images that are too many for `max_gb`, the least recently used first.

    A run that has them open keeps them until it ends.
    """
    folders = (folder for folder in (home / "cache" / "decoded").glob("*") if folder.is_dir() and not folder.suffix)
    sizes = {folder: size_of(folder) for folder in folders}
    total = sum(sizes.values())
    for folder in sorted(sizes, key=last_used):
        if total <= max_gb * 1e9:
            return
        with suppress(Timeout), locked(folder.with_suffix(".lock"), 0):  # else somebody decodes these images
            day = time.strftime("%Y-%m-%d", time.localtime(last_used(folder)))
            yield Waste(folder, f"decoded images, last used on {day}")
            total -= sizes[folder]


def warn_of_caches(home: Path, max_gb: float | None) -> None:
    """Say that decoded images take more than they may; a run deletes none, since another may be about to open them."""
    if max_gb is not None and (size := size_of(home / "cache" / "decoded")) > max_gb * 1e9:
        message = "decoded images take %.1f GB, more than cache.max_gb=%g; %s says which go"
        log.warning(message, size / 1e9, max_gb, f"{invocation('clean')} --max-gb {max_gb:g}")


def partial_caches(home: Path) -> Iterator[Waste]:
    """Yield what processes left that were killed while they decoded."""
    for path in sorted((home / "cache" / "decoded").glob("*.partial")):
        with suppress(Timeout), locked(path.with_suffix(".lock"), 0):
            yield Waste(path, "half of decoded images, of a process that was killed")
