"""Sweeps on a real Slurm: put back, preempted, timed out, cancelled, and left alone by who launched them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import copy_project, edit_recipe
from killing import Evidence, gather, left_over, start_sweep
from mlflow import MlflowClient

from tlft.runtime import squeue
from tlft.tracking.reader import load_records


def slurm_answers() -> bool:
    return shutil.which("sinfo") is not None and subprocess.run(["sinfo"], capture_output=True).returncode == 0


pytestmark = [pytest.mark.slurm, pytest.mark.skipif(not slurm_answers(), reason="no Slurm answers here")]

SLURM = ("hydra/launcher=slurm", "hydra.launcher.partition=debug")


def end(sweep: subprocess.Popen[str], status: int = 0) -> str:
    said, _ = sweep.communicate()
    assert sweep.returncode == status, said
    return said


def slurm_ids(sweep: subprocess.Popen[str]) -> list[str]:
    """Return the jobs' ids in Slurm, once the sweep has said them."""
    assert sweep.stdout is not None
    said = ""
    for line in sweep.stdout:
        said += line
        if found := re.search(r"jobs submitted to Slurm: (.*)", line):
            return found[1].split()
    raise AssertionError(said)


def wait_for_line(file: Path, text: str) -> None:
    """Return once a file, which may not be there yet, has a line with this text."""
    with subprocess.Popen(
        ["tail", "--lines=+1", "--follow=name", "--retry", str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as tail:
        assert tail.stdout is not None
        for line in tail.stdout:
            if text in line:
                break
        tail.terminate()


def evidence(home: Path) -> dict[str, Evidence]:
    """Return what each run has left, by its key; without times and what tells how it came about."""
    return {record.key: gather(record, home) for record in load_records("tlft", home=home)}


def undisturbed(home: Path, folder: Path, *overrides: str) -> dict[str, Evidence]:
    end(start_sweep(home, folder, *overrides, "hydra/launcher=parallel"))
    return evidence(home)


def test_twelve_jobs_that_are_disturbed_in_every_way_are_done_once_with_the_same_bits(
    tmp_path: Path, tiny_folder: Path
) -> None:
    overrides = ("seed=range(12)", "training.epochs=30")
    home, again = tmp_path / "home", (*SLURM, "seed=range(12)", "training.epochs=30", "resume.wait=true")
    first = start_sweep(home, tiny_folder, *again, f"hydra.sweep.dir={tmp_path}/sweep")
    ids = slurm_ids(first)
    assert len(ids) == 12
    for number in (0, 1):
        wait_for_line(tmp_path / "sweep" / str(number) / "output.log", "epoch 1/30")
    subprocess.run(["scontrol", "requeue", ids[0]], check=True)
    subprocess.run(["scancel", ids[1]], check=True)
    first.kill()
    first.wait()
    second = start_sweep(home, tiny_folder, *again)
    wait_for_line(tmp_path / "sweep" / "4" / "output.log", "epoch 1/30")
    subprocess.run(["srun", "--partition=high", "--cpus-per-task=4", "true"], check=True)  # preempts what runs
    said = end(second)
    assert "running elsewhere" in said.splitlines()[0]
    assert re.match("12 jobs: 12 done", end(start_sweep(home, tiny_folder, *again)))
    assert evidence(home) == undisturbed(tmp_path / "reference", tiny_folder, *overrides)
    assert left_over(home) == []
    resumed = [record for record in load_records("tlft", home=home) if "tlft.resumed" in record.tags]
    assert len(resumed) >= 2


def test_a_job_that_times_out_is_put_back_and_goes_on(tmp_path: Path, tiny_folder: Path) -> None:
    """Slurm's own signal for it, which submitit takes for a time-out in the last ten minutes of a job's time."""
    overrides = ("seed=0", "training.epochs=30")
    limit = "hydra.launcher.timeout_min=10"
    sweep = start_sweep(tmp_path / "home", tiny_folder, *SLURM, *overrides, limit, f"hydra.sweep.dir={tmp_path}/sweep")
    (job,) = slurm_ids(sweep)
    wait_for_line(tmp_path / "sweep" / "0" / "output.log", "epoch 1/30")
    subprocess.run(["scancel", "--signal=USR2", job], check=True)
    assert "job 0: done" in end(sweep)
    said = (tmp_path / "sweep" / "0" / "output.log").read_text()
    assert "SIGUSR2: stopping after this step" in said
    assert "this job is timed-out" in said
    (record,) = load_records("tlft", home=tmp_path / "home")
    assert record.tags["tlft.resumed"] == "1"
    assert evidence(tmp_path / "home") == undisturbed(tmp_path / "reference", tiny_folder, *overrides)


def test_what_a_job_waits_for_is_said_and_it_outlives_ctrl_c_and_edits(tmp_path: Path, tiny_folder: Path) -> None:
    held = ("hydra.launcher.additional_parameters={hold:true}", f"hydra.sweep.dir={tmp_path}/sweep")
    project, home = copy_project(tmp_path / "project"), tmp_path / "home"
    sweep = start_sweep(home, tiny_folder, *SLURM, "seed=0", "training.epochs=1", *held, project=project)
    (job,) = slurm_ids(sweep)
    assert sweep.stdout is not None
    waits = next((line for line in sweep.stdout if "wait in Slurm" in line), "")
    sweep.send_signal(2)
    said = end(sweep, 130)
    assert f"`scancel {job}` ends them" in said
    assert "1 for JobHeldUser" in waits
    edit_recipe(project)
    subprocess.run(["scontrol", "release", job], check=True)
    wait_for_line(tmp_path / "sweep" / "0" / "output.log", "done: ")
    (record,) = load_records("tlft", home=home)
    assert (record.status, record.params["optimizer.lr"]) == ("FINISHED", "0.01")
    assert (
        MlflowClient(f"sqlite:///{home}/mlflow.db").get_run(record.tags["mlflow.parentRunId"]).data.tags["tlft.sweep"]
    )


def test_what_slurm_refuses_is_one_line(tmp_path: Path, tiny_folder: Path) -> None:
    said = end(start_sweep(tmp_path, tiny_folder, *SLURM, "seed=0", "hydra.launcher.partition=nowhere"), 1)
    (line,) = [line for line in said.splitlines() if line.startswith("failed:")]
    assert "hydra/launcher=slurm: the jobs were not accepted" in line
    assert "partition" in line
    assert "Traceback" not in said


def test_a_sweep_that_is_too_long_for_an_array_is_several_and_a_node_without_a_gpu_is_one_line(
    tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cluster says that arrays have two jobs at most, by a `scontrol` in front of its own."""
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\n{shutil.which("scontrol")} "$@" | sed "s/^MaxArraySize .*/MaxArraySize = 2/"\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{scontrol.parent}:{os.environ['PATH']}")
    overrides = (*SLURM, "training.epochs=1", "hydra.launcher.array_parallelism=2")
    said = end(start_sweep(tmp_path / "home", tiny_folder, *overrides, "seed=range(5)"))
    submitted = re.findall(r"(\d+) jobs submitted to Slurm: (\S+)", said)
    assert [int(count) for count, _ in submitted] == [2, 2, 1]
    assert len({job.partition("_")[0] for _, job in submitted}) == 3
    assert [record.status for record in load_records("tlft", home=tmp_path / "home")] == ["FINISHED"] * 5
    said = end(start_sweep(tmp_path / "home", tiny_folder, *overrides, "seed=7", "device=cuda"), 1)
    assert re.search(r"^job 0 failed: device=cuda: no CUDA device on \S+; ask for one", said, re.MULTILINE)
    assert "Traceback" not in said


def test_slurm_forgets_a_job(tmp_path: Path) -> None:
    assert squeue.in_queue(["999999"]) == {"999999": False}
    assert squeue.last_words("999999") == "unknown to Slurm's accounting"
