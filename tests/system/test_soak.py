"""A sweep of many jobs in one process."""

from __future__ import annotations

import os
import statistics
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
from killing import start_sweep

from tlft.tracking.reader import load_records


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
    assert max(memory[warm:]) - memory[warm] < 100e6
    assert statistics.median(files[-warm:]) <= max(files[: warm + 1])  # one more may be open at the moment of a look
