"""Sweeps whose jobs have processes of their own: killed, interrupted, orphaned, started twice."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import psutil
import pytest
from conftest import TINY_ARCH, Configure
from killing import left_over, parents_in
from warm import WarmCommand

from tlft.config.paths import PROJECT
from tlft.records.record import Record
from tlft.runtime import device as machine
from tlft.sweeps.launchers.worker import OUTPUT_FILE
from tlft.tracking.reader import load_records

COMMON = (
    *("-m", "hydra/launcher=parallel", "hydra.launcher.jobs=2", "threads=1", "data=imagefolder", "model=scratch"),
    *("training.batch_size=6", "tracking.weights=false", *TINY_ARCH),
)


class Sweep:
    """A sweep in a process of its own, some of whose jobs are listened to.

    Args:
        listen: numbers of jobs whose output goes through a pipe: its end is the end of every process that writes it.
            Such a job begins when it is first listened to.
    """

    def __init__(self, home: Path, folder: Path, *overrides: str, listen: Sequence[int] = ()) -> None:
        self.folder = home / f"sweep-{len(list(home.glob('sweep-*')))}"
        for number in listen:
            (self.folder / str(number)).mkdir(parents=True)
            os.mkfifo(self.folder / str(number) / OUTPUT_FILE)
        self.process = WarmCommand(
            [*COMMON, f"data.root={folder}", *overrides, *([f"hydra.sweep.dir={self.folder}"] if listen else [])],
            {**os.environ, "TLFT_HOME": str(home)},
            one_pipe=True,
            new_session=True,
        )
        threading.Thread(target=self._let_readers_go, args=(listen,), daemon=True).start()
        self._words: dict[int, TextIO] = {}

    def _let_readers_go(self, listen: Sequence[int]) -> None:
        """Put an end to each pipe when the sweep has ended, lest one waits for a job that never began."""
        self.process.wait()
        for number in listen:
            pipe = self.folder / str(number) / OUTPUT_FILE
            pipe.rename(pipe.with_suffix(".pipe")).with_suffix(".log").touch()
            os.close(os.open(pipe.with_suffix(".pipe"), os.O_RDWR | os.O_NONBLOCK))

    def _listen(self, number: int) -> TextIO:
        if number not in self._words:
            self._words[number] = (self.folder / str(number) / OUTPUT_FILE).open()
        return self._words[number]

    def end(self) -> str:
        """Return all that the sweep has said, once it has ended."""
        said, _ = self.process.communicate()
        return said

    def pid(self, number: int) -> int:
        """Return the process of a job that is listened to, once it has trained an epoch."""
        self.hear(number, "epoch 1/")
        return int(json.loads((self.folder / str(number) / "outcome.json").read_text())["pid"])

    def hear(self, number: int, text: str) -> str:
        """Return the line of a job that is listened to that has this text, once it is said."""
        for line in self._listen(number):
            if text in line:
                return line
        raise AssertionError(f"job {number} never said {text}: {self.end()}")

    def hear_out(self, number: int) -> str:
        """Return what else a job says, once its process is gone."""
        with self._listen(number) as words:
            return words.read()


def records(home: Path) -> list[Record]:
    return load_records("tlft", home=home)


def test_a_job_that_is_killed_fails_alone_and_goes_on_the_next_time(tmp_path: Path, tiny_folder: Path) -> None:
    sweep = Sweep(tmp_path, tiny_folder, "training.epochs=4", "seed=0,1,2", listen=[0])
    os.kill(sweep.pid(0), signal.SIGKILL)
    sweep.hear_out(0)
    said = sweep.end()
    assert sweep.process.returncode == 1
    assert re.search(r"job 0 failed: its process was killed \(SIGKILL\).* of [\d.]+ GiB", said)
    assert len(re.findall(r"^job [12]: done, accuracy", said, re.MULTILINE)) == 2
    again = Sweep(tmp_path, tiny_folder, "training.epochs=4", "seed=0,1,2")
    said = again.end()
    assert re.match(r"3 jobs: 2 done.*, 1 to resume(, about .*)?\n", said)
    assert again.process.returncode == 0
    assert [record.status for record in records(tmp_path)] == ["FINISHED"] * 3
    assert left_over(tmp_path) == []


def test_a_process_does_one_job_after_the_other_until_one_fails_in_it(tmp_path: Path, tiny_folder: Path) -> None:
    sweep = Sweep(
        tmp_path, tiny_folder, "hydra.launcher.jobs=1", "training.epochs=40", "seed=0,1,2,3", listen=[0, 1, 2, 3]
    )
    pids = [sweep.pid(0)]
    assert "done: " in sweep.hear_out(0)  # though its process goes on
    pids.append(sweep.pid(1))
    os.kill(pids[1], signal.SIGKILL)
    sweep.hear_out(1)
    for number in (2, 3):
        pids.append(sweep.pid(number))
        sweep.hear_out(number)
    said = sweep.end()
    assert pids[0] == pids[1] != pids[2] == pids[3]
    assert re.findall(r"^job (\d): done", said, re.MULTILINE) == ["0", "2", "3"]
    assert not any(psutil.pid_exists(pid) for pid in pids)


@pytest.mark.parametrize(("numbers", "status"), [([signal.SIGINT], 130), ([signal.SIGTERM, signal.SIGTERM], 143)])
def test_a_signal_reaches_every_job_and_leaves_no_orphan(
    tmp_path: Path, tiny_folder: Path, numbers: list[int], status: int
) -> None:
    """SIGTERM comes to launcher and jobs, as of systemd, and again: everything is saved all the same."""
    sweep = Sweep(tmp_path, tiny_folder, "training.epochs=1000,1001", "seed=0", listen=[0, 1])
    pids = [sweep.pid(0), sweep.pid(1)]
    for number in numbers:
        for pid in pids if len(numbers) > 1 else []:
            os.kill(pid, number)
        sweep.process.send_signal(number)
    for job in (0, 1):
        assert "stopping after this step" in sweep.hear_out(job)
    said = sweep.end()
    assert sweep.process.returncode == status
    assert len(re.findall("interrupted", said)) >= 2
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert [record.status for record in records(tmp_path)] == ["KILLED", "KILLED"]
    assert len(list(tmp_path.glob("checkpoints/*/checkpoint/*.json"))) >= 2


def test_jobs_whose_launching_process_is_killed_stop_with_a_checkpoint(tmp_path: Path, tiny_folder: Path) -> None:
    sweep = Sweep(tmp_path, tiny_folder, "training.epochs=1000", "seed=0,1", listen=[0, 1])
    sweep.pid(0), sweep.pid(1)
    sweep.process.kill()
    for job in (0, 1):
        assert "stopping after this step" in sweep.hear_out(job)
    assert [record.status for record in records(tmp_path)] == ["KILLED", "KILLED"]
    assert len(list(tmp_path.glob("checkpoints/*/checkpoint/*.safetensors"))) >= 2


def test_two_sweeps_of_one_command_do_each_job_once(tmp_path: Path, tiny_folder: Path) -> None:
    overrides = ("training.epochs=2", "seed=0,1,2", "resume.wait=true")
    one, other = Sweep(tmp_path, tiny_folder, *overrides), Sweep(tmp_path, tiny_folder, *overrides)
    said = one.end() + other.end()
    assert (one.process.returncode, other.process.returncode) == (0, 0), said
    assert [record.status for record in records(tmp_path)] == ["FINISHED"] * 3
    assert len(list(tmp_path.glob("multirun/*/*"))) <= 2
    (parent,) = parents_in(tmp_path)
    assert parent.info.status == "FINISHED"
    assert {record.tags["mlflow.parentRunId"] for record in records(tmp_path)} == {parent.info.run_id}
    assert left_over(tmp_path) == []


@pytest.mark.parametrize("launcher", ["basic", "parallel"])
def test_out_of_memory_and_sys_exit_fail_one_job_each(tmp_path: Path, tiny_folder: Path, launcher: str) -> None:
    rates = "optimizer.lr=0.25,0.5,0.01"  # see breaking.py
    options = [*COMMON, f"data.root={tiny_folder}", "training.epochs=1", rates, f"hydra/launcher={launcher}"]
    options = [option for option in options if launcher == "parallel" or not option.startswith("hydra.launcher.")]
    done = subprocess.run(
        [sys.executable, str(PROJECT / "tests" / "breaking.py"), *options],
        env={**os.environ, "TLFT_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1
    assert re.search(r"^job 0 failed: out of memory: .*; set training.batch_size below 6$", done.stdout, re.MULTILINE)
    assert re.search(r"^job 1 failed: something in the run called sys.exit\(3\)", done.stdout, re.MULTILINE)
    assert "Traceback" not in done.stderr
    assert launcher == "parallel" or "the model that broke is gone" in done.stderr
    assert [record.status for record in sorted(records(tmp_path), key=lambda r: -float(r.params["optimizer.lr"]))] == [
        *("FAILED", "FAILED", "FINISHED")
    ]
    logs = [path.read_text() for path in tmp_path.glob("multirun/*/*/[01]/run.log")]
    assert ["Traceback" in log for log in logs] == [True, True]


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
    machine._claimed.close()
