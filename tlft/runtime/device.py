"""What this machine offers a run: device, arithmetic precision, threads; memory is the next module's (memory.py)."""

from __future__ import annotations

import getpass
import logging
import os
import platform
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import Timeout

from tlft.config.schema import Config
from tlft.errors import ConfigurationError
from tlft.names import Metric, Tag
from tlft.runtime import squeue
from tlft.runtime.memory import keep_freed, peak_memory, reset_peak
from tlft.storage.locks import locked

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Machine:
    """Where and how the arithmetic is done.

    Attributes:
        precision: `float32`, `tf32` (float32 whose products round their factors to 10 bits), or `bfloat16` by autocast;
            never `auto`.
        threads: CPU threads of this process.
    """

    device: torch.device
    precision: str
    threads: int

    def autocast(self) -> torch.autocast:
        """Return a context in which matrix products and convolutions use the precision."""
        import torch

        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bfloat16")


class _Cores:
    """How many CPUs this process may use while others of its sweep wait for it; None for those of its threads."""

    number: int | None = None


def share_cores(number: int | None) -> None:
    """Say how many CPUs this process and those beside it may use together, if others run beside it."""
    _Cores.number = number


@contextmanager
def waited_for(machine: Machine) -> Iterator[None]:
    """Have what others of a sweep would wait for computed on their CPUs too, within the block."""
    import torch

    torch.set_num_threads(max(_Cores.number or 0, machine.threads))
    try:
        yield
    finally:
        torch.set_num_threads(machine.threads)


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


def find_problems(config: Config, *, on_a_node: bool = False) -> list[str]:
    """Return what this machine has not that was asked for, a line each with its mend; libraries are loaded at need.

    `on_a_node`: the job gets its machine from a cluster, so that nothing can be said here of its GPUs.
    """
    kind, _, index = config.device.partition(":")
    if kind == "mps":
        import torch

        return [] if torch.backends.mps.is_available() else [f"device=mps: {_no_device('none')}"]
    if (kind != "cuda" and config.precision != "tf32") or on_a_node:
        return []
    if kind == "cpu":
        return []  # refused by its values alone
    import torch

    count = torch.cuda.device_count()
    if count == 0 and kind == "cuda":
        return [f"device={config.device}: {_no_device('no CUDA device')}"]
    if index and int(index) >= count:
        return [f"device={config.device}: there are {count} CUDA devices{_host()}, counted from 0"]
    if config.precision == "tf32" and not (count and _has_tf32(torch.device("cuda"))):
        return [f"precision=tf32: no CUDA device{_host() or ' here'} has it; use precision=float32"]
    return []


def _no_device(what: str) -> str:
    if squeue.own_job():
        return f"{what}{_host()}; ask for one (hydra.launcher.gpus_per_node=1), or use device=auto or device=cpu"
    return f"{'this machine has none' if what == 'none' else f'{what} here'}; use device=auto or device=cpu"


def _host() -> str:
    """Return which machine that is, where a cluster has chosen it."""
    return f" on {platform.node()}" if squeue.own_job() else ""


def prepare_machine(config: Config) -> Machine:
    """Choose device, precision and threads, and set them in this process; of several GPUs it gets one of its own.

    Raises:
        ConfigurationError: if this machine has not what was asked for; that of a cluster is seen here first.
    """
    import torch

    if problems := find_problems(config):
        raise ConfigurationError(problems)
    threads = config.threads or available_threads()
    torch.set_num_threads(threads)
    keep_freed()
    reset_peak()
    device = torch.device(_best_device() if config.device == "auto" else config.device)
    if device.type == "cuda" and (count := count_gpus()) > 1:
        device = torch.device("cuda", _claim_gpu(count, device.index))
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # by an earlier run in this process
        torch.cuda.reset_peak_memory_stats(device)
    return _in_precision(Machine(device, resolve_precision(config.precision, device), threads))


def expected_machine(config: Config, threads: int) -> Machine:
    """Return where and how a run will compute, without preparing it: no GPU is claimed, nothing is set.

    The run itself may get another GPU of several; they are taken for alike.
    """
    import torch

    device = torch.device(_best_device() if config.device == "auto" else config.device)
    return Machine(device, resolve_precision(config.precision, device), threads)


def resolve_precision(asked: str, device: torch.device) -> str:
    """Return what a precision comes to on a device: `auto` to bfloat16 where the hardware has it, else to float32."""
    if asked != "auto":
        return asked
    return "bfloat16" if _has_bfloat16(device) else "float32"


def prepare_to_apply(precision: str) -> Machine:
    """Return where and how a trained network is applied: in the precision that it had, where the hardware has that."""
    import torch

    keep_freed()
    device = torch.device(_best_device())
    is_there = precision == "float32" or (_has_tf32 if precision == "tf32" else _has_bfloat16)(device)
    return _in_precision(Machine(device, precision if is_there else "float32", torch.get_num_threads()))


def _in_precision(machine: Machine) -> Machine:
    """Set how float32 is multiplied on NVIDIA's GPUs; to begin with PyTorch takes TF32 for convolutions.

    By the flags of old, which every version has that the project takes: PyTorch refuses a mixture with the new ones.
    """
    import torch

    torch.backends.cuda.matmul.allow_tf32 = machine.precision == "tf32"
    torch.backends.cudnn.allow_tf32 = machine.precision == "tf32"
    return machine


def _has_tf32(device: torch.device) -> bool:
    """Tell whether the hardware has TF32: NVIDIA's since Ampere, which was the first with bfloat16 too."""
    import torch

    return device.type == "cuda" and torch.version.cuda is not None and _has_bfloat16(device)


_DRIVERS = ("nvidia*", "nvhost*", "nvmap", "kfd", "dxg")
"""What NVIDIA's, Jetson's, AMD's and WSL's drivers have in /dev."""


def count_gpus() -> int:
    """Count the GPUs that a job may have for itself; Apple's is one.

    PyTorch, which takes seconds to import, is not asked on a Linux that has no driver of any.
    """
    if sys.platform == "linux" and "torch" not in sys.modules and not any(chain(*map(Path("/dev").glob, _DRIVERS))):
        return 0
    import torch

    return torch.cuda.device_count() or int(torch.backends.mps.is_available())


@cache
def _claim_gpu(count: int, asked: int | None) -> int:
    """Return the GPU that was asked for, or the first that no other process has claimed, held until this one ends."""
    folder = Path(tempfile.gettempdir()) / f"tlft-gpus-{getpass.getuser()}"
    folder.mkdir(exist_ok=True)
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    names = visible if len(visible) == count else [str(index) for index in range(count)]
    for index in range(count) if asked is None else [asked]:
        try:
            _claimed.enter_context(locked(folder / f"{names[index].strip()}.lock", 0))
        except Timeout:
            continue
        return index
    if asked is not None:
        return asked  # shared, as whoever names it may want
    log.warning("every GPU has a run already; this one shares GPU %d", os.getpid() % count)
    return os.getpid() % count


_claimed = ExitStack()  # until this process ends


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


def peaks(machine: Machine) -> dict[str, float]:
    """Return the most memory that this process has held, and on a GPU its tensors, as metrics."""
    import torch

    measured = {Metric.PEAK_MEMORY: peak_memory() / 1e6}
    if machine.device.type == "cuda":
        measured[Metric.PEAK_GPU_MEMORY] = torch.cuda.max_memory_allocated(machine.device) / 1e6
    return measured


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
