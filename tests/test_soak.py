"""Sweeps of many jobs in one process, and sweeps that are killed again and again until they are done."""

from __future__ import annotations

import os
import random
import signal
import statistics
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
from killing import Evidence, gather, left_over, start_sweep, start_warm_sweep

from tlft.tracking import load_records


@pytest.mark.slow
def test_a_hundred_jobs_in_one_process_leave_no_memory_and_no_files_behind(tmp_path: Path, tiny_folder: Path) -> None:
    runs = int(os.environ.get("TLFT_SOAK_RUNS", "100"))
    sweep = start_sweep(tmp_path, tiny_folder, f"seed=range({runs})", "training.epochs=1", "tracking.weights=false")
    process = psutil.Process(sweep.pid)
    memory: list[int] = []
    files: list[int] = []
    said = ""
    assert sweep.stdout is not None
    for line in sweep.stdout:
        said += line
        if line.startswith("done: ") and len(memory) < runs - 1:  # after the last the table is made
            memory.append(process.memory_info().rss)
            files.append(process.num_fds())
    assert sweep.wait() == 0, said
    assert len(memory) == runs - 1, said
    warm = len(memory) // 10
    assert max(memory[warm:]) - memory[warm] < 100e6
    assert max(files[warm:]) <= max(files[: warm + 1])
    records = sorted(load_records("tlft", home=tmp_path), key=lambda record: record.start_time)
    starts = [record.start_time for record in records if record.key]
    seconds = [(after - before) / 1000 for before, after in pairwise(starts)]
    tenth = max(len(seconds) // 10, 1)
    overhead = [record.metrics["time/overhead_seconds"] for record in records if record.key][1:]
    print(
        f"{runs} runs: memory {(max(memory[warm:]) - memory[warm]) / 1e6:+.0f} MB, {files[warm]} to {files[-1]} files; "
        f"a job took {statistics.median(seconds[1 : 1 + tenth]):.2f} s at the beginning and "
        f"{statistics.median(seconds[-tenth:]):.2f} s at the end, overhead {statistics.median(overhead):.2f} s "
        f"(at most {max(overhead):.2f} s)"
    )


def evidence(home: Path) -> dict[str, Evidence]:
    return {record.key: gather(record, home) for record in load_records("tlft", home=home) if record.key}


@pytest.mark.torture
def test_a_sweep_that_is_killed_until_it_is_done_is_the_undisturbed_one(tmp_path: Path, tiny_folder: Path) -> None:
    overrides = ("seed=0,1", "training.epochs=3", "checkpoint.every_minutes=0")
    reference = start_warm_sweep(tmp_path / "reference", tiny_folder, *overrides)
    said, _ = reference.communicate()
    assert reference.returncode == 0, said
    rounds = int(os.environ.get("TLFT_TORTURE_SWEEPS", "2"))
    kills = 0
    for number in range(rounds):
        home, random_ = tmp_path / str(number), random.Random(number)
        launcher = ("hydra/launcher=parallel", "hydra.launcher.jobs=2") if number % 2 else ()
        kills += killed_until_done(home, tiny_folder, (*overrides, *launcher), random_)
        assert evidence(home) == evidence(tmp_path / "reference")
        assert {record.status for record in load_records("tlft", home=home)} == {"FINISHED"}
        assert left_over(home) == []
    print(f"{rounds} sweeps, {kills} kills")
    assert kills > 0


def killed_until_done(home: Path, folder: Path, overrides: tuple[str, ...], random_: random.Random) -> int:
    """Repeat a sweep until it is done, killing it after as many lines as chance says."""
    kills = 0
    while True:
        sweep = start_warm_sweep(home, folder, *overrides)
        lines = random_.randrange(12) if kills < 3 else 1000
        said = ""
        for line in sweep.stdout:
            said += line
            lines -= 1
            if lines < 0:
                sweep.kill()
                kills += 1
                break
        rest, _ = sweep.communicate()
        if sweep.returncode == 0:
            return kills
        assert sweep.returncode in (-signal.SIGKILL, 1), said + rest
