"""Sweeps whose jobs have processes of their own: killed, interrupted, orphaned, started twice."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from conftest import TINY_ARCH, Configure
from killing import left_over

from tlft import machine
from tlft.config import PROJECT
from tlft.records import Record
from tlft.tracking import load_records

COMMON = (
    *("-m", "hydra/launcher=parallel", "hydra.launcher.jobs=2", "threads=1", "data=imagefolder", "model=scratch"),
    *("training.batch_size=6", "tracking.weights=false", *TINY_ARCH),
)


class Sweep:
    """A sweep in a process of its own."""

    def __init__(self, home: Path, folder: Path, *overrides: str) -> None:
        self.home = home
        self.process = subprocess.Popen(
            [sys.executable, str(PROJECT / "run.py"), *COMMON, f"data.root={folder}", *overrides],
            env={**os.environ, "TLFT_HOME": str(home)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 (no thread is running here)
        )

    def wait(self) -> str:
        """Return all that the sweep has said, when it has ended and no process of it is left."""
        said, _ = self.process.communicate(timeout=300)
        return said

    def job(self, number: int) -> Path:
        """Return the folder of a job, once it is training."""
        return self._until(lambda: self._training(number))

    def pid(self, number: int) -> int:
        """Return the process of a job that is training."""
        return int(json.loads((self.job(number) / "outcome.json").read_text())["pid"])

    def _training(self, number: int) -> Path | None:
        for log in self.home.glob(f"multirun/*/*/{number}/output.log"):
            if "epoch 1/" in log.read_text():
                return log.parent
        return None

    def _until(self, look: Callable[[], Path | None]) -> Path:
        while (found := look()) is None:
            assert self.process.poll() is None, self.wait()
            time.sleep(0.05)
        return found


def records(home: Path) -> list[Record]:
    return load_records("tlft", home=home)


def is_alive(pid: int) -> bool:
    return bool(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)


def test_a_job_that_is_killed_fails_alone_and_goes_on_the_next_time(tmp_path: Path, tiny_folder: Path) -> None:
    sweep = Sweep(tmp_path, tiny_folder, "training.epochs=4", "seed=0,1,2")
    victim = sweep.pid(0)
    os.kill(victim, signal.SIGKILL)
    said = sweep.wait()
    assert sweep.process.returncode == 1
    assert re.search(r"job 0 failed: its process was killed \(SIGKILL\).* of [\d.]+ GiB", said)
    assert len(re.findall(r"^job [12]: done, accuracy", said, re.MULTILINE)) == 2
    again = Sweep(tmp_path, tiny_folder, "training.epochs=4", "seed=0,1,2")
    said = again.wait()
    assert re.match(r"3 jobs: 2 done.*, 1 to resume(, about .*)?\n", said)
    assert again.process.returncode == 0
    assert [record.status for record in records(tmp_path)] == ["FINISHED"] * 3
    assert left_over(tmp_path) == []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_reaches_every_job_and_leaves_no_orphan(
    tmp_path: Path, tiny_folder: Path, number: int, status: int
) -> None:
    sweep = Sweep(tmp_path, tiny_folder, "training.epochs=1000,1001", "seed=0")
    pids = [sweep.pid(0), sweep.pid(1)]
    sweep.process.send_signal(number)
    said = sweep.wait()
    assert sweep.process.returncode == status
    assert len(re.findall("interrupted", said)) >= 2
    assert not any(is_alive(pid) for pid in pids)
    assert [record.status for record in records(tmp_path)] == ["KILLED", "KILLED"]


def test_jobs_whose_launching_process_is_killed_stop_with_a_checkpoint(tmp_path: Path, tiny_folder: Path) -> None:
    sweep = Sweep(tmp_path, tiny_folder, "training.epochs=1000", "seed=0,1")
    pids = [sweep.pid(0), sweep.pid(1)]
    sweep.process.kill()
    while any(is_alive(pid) for pid in pids):
        time.sleep(0.05)
    assert [record.status for record in records(tmp_path)] == ["KILLED", "KILLED"]
    assert len(list(tmp_path.glob("checkpoints/*/checkpoint/*.safetensors"))) >= 2


def test_two_sweeps_of_one_command_do_each_job_once(tmp_path: Path, tiny_folder: Path) -> None:
    overrides = ("training.epochs=2", "seed=0,1,2", "resume.wait=true")
    one, other = Sweep(tmp_path, tiny_folder, *overrides), Sweep(tmp_path, tiny_folder, *overrides)
    said = one.wait() + other.wait()
    assert (one.process.returncode, other.process.returncode) == (0, 0), said
    assert [record.status for record in records(tmp_path)] == ["FINISHED"] * 3
    assert len(list(tmp_path.glob("multirun/*/*"))) <= 2


def test_each_process_gets_a_gpu_of_its_own(
    tmp_path: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(machine, "_has_bfloat16", lambda device: False)

    def device_of_another_process() -> str:
        machine._claim_gpu.cache_clear()
        return str(machine.prepare_machine(configure("threads=1")).device)

    assert {device_of_another_process() for _ in range(2)} == {"cuda:0", "cuda:1"}
    assert device_of_another_process() in ("cuda:0", "cuda:1")  # shared, and said
    assert str(machine.prepare_machine(configure("threads=1", "device=cuda:1")).device) == "cuda:1"
    machine._claim_gpu.cache_clear()
    machine._claimed.clear()
