from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import Configure

from tlft.config.paths import PROJECT
from tlft.runtime import device as machine
from tlft.runtime.device import available_threads, prepare_machine
from tlft.runtime.environment import describe_environment, source_state


@pytest.fixture
def many_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(32)), raising=False)
    monkeypatch.setattr(machine, "_container_limit", lambda: None)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)


@pytest.mark.usefixtures("many_cpus")
def test_threads_are_the_least_of_affinity_container_and_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    assert available_threads() == 32
    monkeypatch.setattr(machine, "_container_limit", lambda: 8)
    assert available_threads() == 8
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "4")
    assert available_threads() == 4


@pytest.mark.parametrize(("text", "limit"), [("150000 100000", 2), ("max 100000", None), ("400000 100000", 4)])
def test_container_limit_is_rounded_up(monkeypatch: pytest.MonkeyPatch, text: str, limit: int | None) -> None:
    monkeypatch.setattr(Path, "read_text", lambda self: text)
    assert machine._container_limit() == limit


def test_auto_precision_is_bfloat16_only_where_the_hardware_has_it(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_has_bfloat16", lambda device: True)
    assert prepare_machine(configure("device=cpu")).precision == "bfloat16"
    assert prepare_machine(configure("device=cpu", "precision=float32")).precision == "float32"
    monkeypatch.setattr(machine, "_has_bfloat16", lambda device: False)
    assert prepare_machine(configure("device=cpu")).precision == "float32"
    assert prepare_machine(configure("device=cpu", "precision=bfloat16")).precision == "bfloat16"


def test_threads_of_the_process_are_set(configure: Configure) -> None:
    before = torch.get_num_threads()
    try:
        assert prepare_machine(configure("threads=1")).threads == torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_autocast_uses_the_precision(configure: Configure) -> None:
    for precision, dtype in (("bfloat16", torch.bfloat16), ("float32", torch.float32)):
        with prepare_machine(configure("device=cpu", f"precision={precision}")).autocast():
            assert torch.nn.functional.linear(torch.ones(2, 2), torch.ones(2, 2)).dtype == dtype


def test_environment_tells_versions_hardware_and_source(configure: Configure) -> None:
    environment = describe_environment(prepare_machine(configure("device=cpu")))
    assert environment["packages"]["torch"].startswith("2.")
    assert environment["hardware"]
    state = source_state()
    assert state.commit == "unknown" or len(state.commit) == 40
    assert state.dirty == bool(state.diff)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library has no mallopt")
def test_memory_that_was_freed_is_kept_for_the_next_step() -> None:
    """In a process of its own: what others have allocated before decides where a tensor lies."""
    code = """
import psutil, torch
from tlft.runtime.device import _keep_memory
_keep_memory()
tensor = torch.ones(75_000_000)
held = psutil.Process().memory_info().rss
del tensor
print(held - psutil.Process().memory_info().rss)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PROJECT)
    assert int(done.stdout) < 150_000_000


def test_memory_is_limited_by_the_container(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = machine.memory_limit()
    assert whole > 0
    monkeypatch.setattr(Path, "read_text", lambda self: "1000000\n" if self.name == "memory.max" else "max\n")
    assert machine.memory_limit() == 1_000_000
    monkeypatch.setattr(Path, "read_text", lambda self: "max\n")
    assert machine.memory_limit() >= whole
