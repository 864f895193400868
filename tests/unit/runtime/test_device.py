from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Configure

from tlft.errors import ConfigurationError
from tlft.runtime import device as machine
from tlft.runtime.device import available_threads, prepare_machine, prepare_to_apply
from tlft.runtime.environment import LONGEST_DIFF, _bounded, describe_environment, source_state


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


def test_a_node_that_lacks_what_was_asked_for_is_named_before_the_work(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(platform, "node", lambda: "node3")
    with pytest.raises(ConfigurationError) as caught:
        prepare_machine(configure("device=cuda"))
    (line,) = caught.value.problems
    assert line.startswith("device=cuda: no CUDA device on node3; ask for one (hydra.launcher.gpus_per_node=1)")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigurationError, match="device=cuda:3: there are 2 CUDA devices on node3"):
        prepare_machine(configure("device=cuda:3"))


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Pretend two GPUs of a kind with bfloat16 and TF32, none of them claimed."""
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    flags: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [flag.allow_tf32 for flag in flags]
    yield
    for flag, value in zip(flags, before, strict=True):
        flag.allow_tf32 = value
    machine._claim_gpu.cache_clear()
    machine._claimed.close()


def allowed() -> tuple[bool, bool]:
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.mark.usefixtures("two_gpus")
def test_float32_is_float32_on_a_gpu_and_only_tf32_is_tf32(configure: Configure) -> None:
    """Convolutions too, for which PyTorch allows TF32 unless it is told otherwise."""
    for precision, expected, tf32 in (
        ("tf32", "tf32", True),
        ("float32", "float32", False),
        ("tf32", "tf32", True),
        ("auto", "bfloat16", False),
    ):
        assert prepare_machine(configure("device=cuda", f"precision={precision}")).precision == expected
        assert allowed() == (tf32, tf32)
    for precision, tf32 in (("tf32", True), ("float32", False), ("tf32", True), ("bfloat16", False)):
        assert prepare_to_apply(precision).precision == precision
        assert allowed() == (tf32, tf32)


def test_a_network_that_was_trained_in_tf32_is_applied_in_float32_without_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "_best_device", lambda: "cpu")
    assert prepare_to_apply("tf32").precision == "float32"


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(("first", "second"), [("cuda", "cuda:1"), ("auto", "cuda:1")])
def test_a_gpu_that_was_named_is_taken_and_others_keep_off_it(configure: Configure, first: str, second: str) -> None:
    def device_of_another_process(asked: str) -> str:
        machine._claim_gpu.cache_clear()
        return str(prepare_machine(configure("threads=1", f"device={asked}")).device)

    assert device_of_another_process("cuda:0") == "cuda:0"
    assert device_of_another_process(first) == "cuda:1"
    assert device_of_another_process(second) == "cuda:1"  # shared: whoever names a GPU means it


def test_a_diff_is_bounded_and_holds_no_password_of_an_address() -> None:
    assert _bounded("+uri: postgresql://u:secret@h/db\n") == "+uri: postgresql://u:***@h/db\n"
    cut = _bounded("x" * (LONGEST_DIFF + 5))
    assert cut.endswith("\ncut here: 5 more characters\n")
    assert len(cut) < LONGEST_DIFF + 50
