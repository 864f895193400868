from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tlft.config.paths import PROJECT
from tlft.runtime import memory

needs_glibc = pytest.mark.skipif(memory._c_library() is None, reason="the C library has no mallopt")


def of_a_process(code: str) -> list[int]:
    """Return the numbers that code prints in a process of its own: what others have allocated decides where it lies."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PROJECT)
    return [int(text) for text in done.stdout.split()]


HOLD_AND_FREE = """
import numpy
from tlft.runtime import memory
memory.keep_freed()
before = memory._held()
def hold_and_free():
    arrays = [numpy.ones(2_500_000) for _ in range(15)]  # 20 MB each
    barrier = numpy.ones(1000)  # lies behind them on the heap
    del arrays
    return barrier
barrier = hold_and_free()
kept = memory._held() - before
"""


@needs_glibc
def test_memory_that_was_freed_is_kept_for_the_next_step() -> None:
    code = "memory.set_share(100_000_000_000); print(kept, int(memory.bound_freed()), memory._held() - before)"
    kept, bounded, held = of_a_process(HOLD_AND_FREE + code)
    assert kept > 250_000_000
    assert not bounded
    assert held > 250_000_000


@needs_glibc
def test_a_process_near_its_share_of_memory_gives_back_what_was_freed_and_keeps_no_more() -> None:
    code = """
memory.set_share(before + kept)
print(kept, int(memory.bound_freed()), memory._held() - before)
other = hold_and_free()
print(memory._held() - before)
memory.bound_freed()
print(memory._held() - before)
memory.keep_freed()  # the next run in this process
last = hold_and_free()
print(memory._held() - before)
"""
    kept, bounded, held, again, after, next_run = of_a_process(HOLD_AND_FREE + code)
    assert kept > 250_000_000
    assert bounded
    assert held < 50_000_000
    assert again < 50_000_000
    assert after < 50_000_000
    assert next_run > 250_000_000


def test_the_peak_is_that_of_this_run_and_not_of_an_earlier_one() -> None:
    code = """
import numpy
from tlft.runtime.memory import peak_memory, reset_peak
first = numpy.ones(25_000_000)
del first
print(peak_memory())
reset_peak()
print(peak_memory())
second = numpy.ones(12_500_000)
del second
print(peak_memory())
"""
    first, reset, second = of_a_process(code)
    assert first > 200_000_000
    if sys.platform == "linux":
        assert reset + 150_000_000 < first
        assert reset + 90_000_000 < second < first


@pytest.fixture
def control_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU", "SLURM_CPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(memory, "_CONTROL_GROUP", tmp_path)
    return tmp_path


def test_memory_is_limited_by_the_container(control_group: Path) -> None:
    whole, free = memory.memory_limit(), memory.available_memory()
    assert whole == psutil.virtual_memory().total
    assert 0 < free <= whole
    (control_group / "memory.max").write_text("max\n")
    assert memory.memory_limit() == whole
    (control_group / "memory.max").write_text("1000000\n")
    (control_group / "memory.current").write_text("700000\n")
    (control_group / "memory.stat").write_text("anon 400000\ninactive_file 300000\nactive_file 0\n")
    assert memory.memory_limit() == 1_000_000
    assert memory.available_memory() == 600_000  # files that were read can be dropped


@pytest.mark.parametrize(
    ("allotted", "megabytes"),
    [
        ({"SLURM_MEM_PER_NODE": "512"}, 512),
        ({"SLURM_MEM_PER_CPU": "256", "SLURM_CPUS_ON_NODE": "4"}, 1024),
        ({"SLURM_MEM_PER_NODE": "0"}, None),
    ],
)
def test_memory_is_limited_by_slurm(
    control_group: Path, monkeypatch: pytest.MonkeyPatch, allotted: dict[str, str], megabytes: int | None
) -> None:
    for name, value in allotted.items():
        monkeypatch.setenv(name, value)
    whole = psutil.virtual_memory().total
    assert memory.memory_limit() == (whole if megabytes is None else megabytes << 20)
