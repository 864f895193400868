"""What memory this process may use, what it has used at most, and that it gives back what it does not need.

The C library is told to keep freed memory, since new pages take longer than the arithmetic on them:
EfficientNet-Lite0's second step of batch 64 went at 15 instead of 6 images a second on two cores, ResNet-50's third at
4.3 instead of 2.7. The price is memory, a peak of 7.1 instead of 5.8 GiB, and of 9.7 instead of 6.6; it is paid as long
as there is some.
"""

from __future__ import annotations

import ctypes
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import psutil

log = logging.getLogger(__name__)

MOST_KEPT = 0.8
"""Of its share of memory a process holds no more than this before it gives back what it has freed."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4  # malloc.h
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = 128 << 10, 128 << 10, 1 << 16  # glibc's own to begin with
_CONTROL_GROUP = Path("/sys/fs/cgroup")


def memory_limit() -> int:
    """Return the bytes of memory that this process may use: the machine's, or less in a container or a Slurm job."""
    limits = [int(psutil.virtual_memory().total), *_slurm_limit()]
    for file in ("memory.max", "memory/memory.limit_in_bytes"):  # control groups, version 2 and 1
        with suppress(OSError, ValueError):
            limits.append(int((_CONTROL_GROUP / file).read_text()))
    return min(limits)


_limit_at_start = cache(memory_limit)  # which takes files to be read, and hardly ever changes


def available_memory() -> int:
    """Return the bytes of memory that new processes may take without anybody being killed."""
    free = [int(psutil.virtual_memory().available), *_slurm_limit()]
    for most, used, statistics in (
        ("memory.max", "memory.current", "memory.stat"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
    ):
        with suppress(OSError, ValueError):
            limit, current = (int((_CONTROL_GROUP / file).read_text()) for file in (most, used))
            cached = re.search(r"^(?:total_)?inactive_file (\d+)", (_CONTROL_GROUP / statistics).read_text(), re.M)
            free.append(limit - current + (int(cached[1]) if cached else 0))
    return max(min(free), 0)


def _slurm_limit() -> list[int]:
    """Return the bytes that Slurm has allotted this job on its machine, if it says so."""
    whole, per_cpu = os.environ.get("SLURM_MEM_PER_NODE", ""), os.environ.get("SLURM_MEM_PER_CPU", "")
    cpus = os.environ.get("SLURM_CPUS_ON_NODE", "")
    megabytes = int(whole) if whole.isdecimal() else 0
    if not megabytes and per_cpu.isdecimal() and cpus.isdecimal():
        megabytes = int(per_cpu) * int(cpus)
    return [megabytes << 20] if megabytes else []  # 0 is the whole machine


class _Share:
    """How much memory this process may hold; None for all that there is."""

    bytes: int | None = None
    is_kept = False


def set_share(size: int | None) -> None:
    """Say how many bytes this process may hold, since others run beside it; None for all that there is."""
    _Share.bytes = size


def keep_freed() -> None:
    """Have glibc keep freed memory for the next step instead of giving each large tensor back to the system.

    Other C libraries have no `mallopt`.
    """
    library = _c_library()
    if library is None or _Share.is_kept:
        return
    library.mallopt(_M_MMAP_MAX, 0)
    library.mallopt(_M_TRIM_THRESHOLD, -1)
    _Share.is_kept = True


@contextmanager
def keeping_freed() -> Iterator[None]:
    """Keep freed memory within the block, and give it back at its end; it goes on to be kept if it was before."""
    was_kept = _Share.is_kept
    keep_freed()
    try:
        yield
    finally:
        library = _c_library()
        if library is not None and not was_kept:
            _keep_no_more(library)
            library.malloc_trim(0)


def bound_freed() -> bool:
    """Give back what was freed if this process holds almost all that it may, and keep no more from then on.

    Looks at a file of the kernel, so that it may be asked after each step; tells whether memory was given back.
    """
    library = _c_library()
    if library is None or _held() < MOST_KEPT * (_Share.bytes or _limit_at_start()):
        return False
    if _Share.is_kept:
        log.info("memory: %.1f GB are held; what is freed is given back from now on, which is slower", _held() / 1e9)
        _keep_no_more(library)
    library.malloc_trim(0)
    return True


def _keep_no_more(library: Any) -> None:
    library.mallopt(_M_MMAP_MAX, _MMAP_MAX)
    library.mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD)
    library.mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD)
    _Share.is_kept = False


@cache
def _c_library() -> Any:
    """Return glibc, whose `mallopt` and `malloc_trim` are not in every C library; None without them."""
    try:
        library = ctypes.CDLL(None)
        library.mallopt, library.malloc_trim  # noqa: B018
    except (OSError, TypeError, AttributeError):
        return None
    return library


def _held() -> int:
    """Return the bytes of memory that are this process's own: files that are mapped can be dropped at any time."""
    try:
        _, resident, shared, *_ = Path("/proc/self/statm").read_text().split()
    except OSError:
        return int(psutil.Process().memory_info().rss)
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")


def reset_peak() -> None:
    """Begin to measure `peak_memory` anew, where the system lets a process do so."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int:
    """Return the most bytes of memory that this process has held since `reset_peak`, or since its start."""
    try:
        # Not `ru_maxrss`, which a process inherits from the one that has started it.
        match = re.search(r"^VmHWM:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.M)
        return int(match[1]) << 10 if match else 0
    except OSError:
        import resource

        return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # bytes on macOS
