"""What this machine offers a run: device, arithmetic precision, threads, memory."""

from __future__ import annotations

import ctypes
import getpass
import logging
import os
import platform
import re
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from filelock import FileLock, Timeout

from tlft.config.schema import Config
from tlft.names import Tag

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Machine:
    """Where and how the arithmetic is done.

    Attributes:
        precision: `float32`, or `bfloat16` by autocast; never `auto`.
        threads: CPU threads of this process.
    """

    device: torch.device
    precision: str
    threads: int

    def autocast(self) -> torch.autocast:
        """Return a context in which matrix products and convolutions use the precision."""
        import torch

        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bfloat16")


def available_threads() -> int:
    """Count the CPUs that this process may use: affinity, container limit and Slurm's allotment, the least of them."""
    counts = [os.cpu_count() or 1]
    if hasattr(os, "sched_getaffinity"):
        counts.append(len(os.sched_getaffinity(0)))
    if (slurm := os.environ.get("SLURM_CPUS_PER_TASK", "")).isdecimal():
        counts.append(int(slurm))
    counts.append(_container_limit() or counts[0])
    return max(min(counts), 1)


def _container_limit() -> int | None:
    """Return the CPUs that control groups (version 2, then 1) grant, rounded up, or None."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        with suppress(OSError, ValueError):
            texts = [Path("/sys/fs/cgroup", name).read_text() for name in names]
            quota, period = (int(number) for number in " ".join(texts).split())
            if quota > 0 and period > 0:
                return -(-quota // period)
    return None


def memory_limit() -> int:
    """Return the bytes of memory that this process may use: the machine's, or less in a container."""
    limits = [int(psutil.virtual_memory().total)]
    for file in ("memory.max", "memory/memory.limit_in_bytes"):  # control groups, version 2 and 1
        with suppress(OSError, ValueError):
            limits.append(int(Path("/sys/fs/cgroup", file).read_text()))
    return min(limits)


def prepare_machine(config: Config) -> Machine:
    """Choose device, precision and threads, and set the threads of this process."""
    import torch

    threads = config.threads or available_threads()
    torch.set_num_threads(threads)
    _keep_memory()
    device = torch.device(_best_device() if config.device == "auto" else config.device)
    if device == torch.device("cuda") and config.device == "auto" and count_gpus() > 1:
        device = torch.device("cuda", _claim_gpu(count_gpus()))
    fastest = "bfloat16" if _has_bfloat16(device) else "float32"
    return Machine(device, fastest if config.precision == "auto" else config.precision, threads)


def prepare_to_apply(precision: str) -> Machine:
    """Return where and how a trained network is applied: in the precision that it had, where the hardware has that."""
    import torch

    _keep_memory()
    device = torch.device(_best_device())
    return Machine(device, precision if _has_bfloat16(device) else "float32", torch.get_num_threads())


@cache
def _keep_memory() -> None:
    """Have glibc keep freed memory for the next step instead of giving each large tensor back to the system.

    To get its pages anew takes longer than the arithmetic on them: EfficientNet-Lite0's second step of batch 64 went at
    15 instead of 6 images a second on two cores, ResNet-50's third at 4.3 instead of 2.7. The price is memory: a peak
    of 7.1 instead of 5.8 GiB, and of 9.7 instead of 6.6. Other C libraries have no `mallopt`.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, -1)


_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h


def count_gpus() -> int:
    """Count the GPUs that a job may have for itself."""
    import torch

    return torch.cuda.device_count()


@cache
def _claim_gpu(count: int) -> int:
    """Return the first GPU that no other process has claimed, and hold it until this process ends."""
    folder = Path(tempfile.gettempdir()) / f"tlft-gpus-{getpass.getuser()}"
    folder.mkdir(exist_ok=True)
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    names = visible if len(visible) == count else [str(index) for index in range(count)]
    for index, name in enumerate(names):
        lock = FileLock(folder / f"{name.strip()}.lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            continue
        _claimed.append(lock)
        return index
    log.warning("every GPU has a run already; this one shares GPU %d", os.getpid() % count)
    return os.getpid() % count


_claimed: list[FileLock] = []


def _best_device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _has_bfloat16(device: torch.device) -> bool:
    """Tell whether the hardware multiplies in bfloat16; emulated, it is slower than float32."""
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, check, lambda: False)() for check in checks)
    return False


def describe_hardware(machine: Machine) -> dict[str, Any]:
    """Return what the arithmetic is done with, as plain JSON types."""
    import torch

    return {
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cuda": torch.version.cuda if machine.device.type == "cuda" else None,
        Tag.DEVICE: str(machine.device),
        Tag.HARDWARE: _hardware_name(machine.device),
        Tag.PRECISION: machine.precision,
        Tag.THREADS: machine.threads,
    }


def _hardware_name(device: torch.device) -> str:
    """Return the name of the GPU, or of the CPU."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        match = None
    return match[1] if match else platform.processor() or platform.machine()
