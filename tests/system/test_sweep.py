"""Real sweeps through the command line: planned, run, summed up, repeated, failed, interrupted."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import TINY_ARCH, copy_project, draw_folder, edit_recipe, files_in, run_py
from killing import parents_in
from warm import WarmCommand

from tlft.config.output_dir import claim_folder
from tlft.config.paths import PROJECT
from tlft.records.record import Record
from tlft.runs.preflight import check_command_line
from tlft.sweeps.summary import command_of
from tlft.tracking.reader import load_records

COMMON = (
    *("-m", "arch=efficientnet_lite0", "data=imagefolder", "training.epochs=1", "training.batch_size=8"),
    *("tracking.weights=false", "threads=1"),
)
COLUMNS = "experiment=zero_shot,fine_tune,from_scratch"


@dataclass
class Sweep:
    home: Path
    first: subprocess.CompletedProcess[str]
    second: subprocess.CompletedProcess[str]
    plan: subprocess.CompletedProcess[str]

    @property
    def records(self) -> list[Record]:
        return load_records("tlft", home=self.home)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Sweep:
    home = tmp_path_factory.mktemp("home")
    command = (*COMMON, f"data.root={tiny_folder}", COLUMNS, "seed=0,1")
    first = run_py(*command, home=home)
    assert first.returncode == 0, first.stderr
    return Sweep(home, first, run_py(*command, home=home), run_py(*command, "seed=0,1,2", "plan=true", home=home))


def summary(done: subprocess.CompletedProcess[str]) -> list[str]:
    table = re.split(r"^job +run .*\n", done.stdout, flags=re.MULTILINE)[-1].partition("\n\n")[0]
    return [line for line in table.splitlines() if re.match(r"\d+ ", line)]


def test_plan_comes_first(sweep: Sweep) -> None:
    assert sweep.first.stdout.startswith("6 jobs: 1 the same as another, 5 new\n")


def test_same_key_twice_is_run_once_and_reported_twice(sweep: Sweep) -> None:
    assert len(sweep.records) == 5
    assert "done (same as job 0)" in summary(sweep.first)[1]


def test_summary_has_a_line_per_job_with_status_accuracy_time_and_run(sweep: Sweep) -> None:
    lines = summary(sweep.first)
    assert len(lines) == 6
    for line in lines:
        assert re.search(r"done.*\d+\.\d{3} %\s+\d+\.\d s\s+[0-9a-f]{8}$", line), line


def test_table_follows_the_summary(sweep: Sweep) -> None:
    assert "from scratch" in sweep.first.stdout.partition(summary(sweep.first)[-1])[2]


def test_same_command_again_skips_everything(sweep: Sweep) -> None:
    assert sweep.second.returncode == 0
    assert re.match(r"6 jobs: 5 done.*, 1 the same as another\n", sweep.second.stdout)
    report = re.search(r"^report: (.*)$", sweep.second.stdout, re.MULTILINE)
    assert report is not None
    assert Path(report[1]).is_file()
    assert all("done before" in line for line in summary(sweep.second))
    assert len(sweep.records) == 5


def test_plan_stops_after_the_plan(sweep: Sweep) -> None:
    assert sweep.plan.returncode == 0
    assert re.match(r"9 jobs: 5 done.*, 2 the same as another, 2 new(, about .*)?\n", sweep.plan.stdout)
    assert len(sweep.plan.stdout.splitlines()) == 14
    assert sweep.plan.stdout.endswith("class map: ants -> 310 ant; bees -> 309 bee\n")
    assert len(list((sweep.home / "multirun").rglob("multirun.yaml"))) == 1


def test_each_job_has_a_folder_with_its_number_in_the_sweep(sweep: Sweep) -> None:
    (folder,) = (sweep.home / "multirun").glob("*/*")
    assert sorted(p.name for p in folder.iterdir() if p.is_dir()) == ["0", "2", "3", "4", "5"]
    assert json.loads((folder / "2" / "outcome.json").read_text())["status"] == "done"
    assert f"dir: {folder}\n" in (folder / "multirun.yaml").read_text()
    assert "accuracy" in (folder / "2" / "run.log").read_text()


def test_a_sweep_has_one_run_of_its_own_that_is_the_parent_of_its_runs(sweep: Sweep) -> None:
    """The same sweep again has the same, and a plan has none."""
    (parent,) = parents_in(sweep.home)
    assert parent.info.status == "FINISHED"
    assert parent.info.run_name.startswith("seed=0,1 arch=efficientnet_lite0 data=imagefolder")
    assert parent.data.tags["sweep"] == "custom"
    assert {record.tags["mlflow.parentRunId"] for record in sweep.records} == {parent.info.run_id}
    accuracy = {record.run_id: record.metrics["eval/accuracy"] for record in sweep.records}
    (zero_shot,) = (r.run_id for r in sweep.records if r.params["head.name"] == "imagenet1k")
    assert parent.data.metrics["column/zero_shot/accuracy"] == accuracy[zero_shot]
    assert (parent.data.metrics["sweep/jobs"], parent.data.metrics["sweep/runs"]) == (6, 5)
    first, _, rest = parent.data.tags["mlflow.note.content"].partition("\n")
    assert re.match(r"On insects, efficientnet_lite0: fine-tuned .* %.*, untouched .* %, from scratch .* %", first)
    assert "| insects | efficientnet_lite0 |" in rest
    assert "Left out: nothing." in rest


def test_a_sweep_that_finds_all_done_by_another_has_no_run_of_its_own(sweep: Sweep, tiny_folder: Path) -> None:
    done = run_py(*COMMON, f"data.root={tiny_folder}", "experiment=zero_shot,fine_tune", home=sweep.home)
    assert done.stdout.startswith("2 jobs: 2 done")
    assert len(parents_in(sweep.home)) == 1


def test_note_of_the_experiment_begins_with_the_sentence_that_matters(sweep: Sweep) -> None:
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{sweep.home}/mlflow.db")
    experiment = client.get_experiment_by_name("tlft")
    assert experiment is not None
    first, _, rest = experiment.tags["mlflow.note.content"].partition("\n")
    assert "fine-tuned" in first
    assert "|" in rest


def test_failed_job_does_not_stop_the_others_and_is_named(tmp_path: Path, tiny_folder: Path) -> None:
    command = (*COMMON, *TINY_ARCH, f"data.root={tiny_folder}", "model=scratch", "training.epochs=8")
    done = run_py(*command, "optimizer.lr=0.01,1e30,0.02", home=tmp_path)
    assert done.returncode == 1
    assert [record.status for record in load_records("tlft", home=tmp_path)] == ["FINISHED", "FAILED", "FINISHED"]
    assert re.search(r"job 1 failed: the loss became (nan|inf) in epoch \d", done.stdout)
    assert "Traceback" not in done.stderr
    assert "Error executing job" not in done.stderr
    assert re.search(r"just this job again: python run.py (?!-m).* optimizer.lr=1e\+?30$", done.stdout, re.MULTILINE)
    (folder,) = (tmp_path / "multirun").glob("*/*")
    told = json.loads((folder / "sweep.json").read_text())
    assert [row["status"] for row in told] == ["done", "failed", "done"]
    assert len((folder / "sweep.csv").read_text().splitlines()) == 4
    assert "Traceback" in next((tmp_path / "multirun").glob("*/*/1/run.log")).read_text()
    mended = run_py(*command, "optimizer.lr=0.01,0.03,0.02", home=tmp_path)
    assert mended.returncode == 0
    assert re.match(r"3 jobs: 2 done.*, 1 new(, about .*)?\n", mended.stdout)


def test_a_sweep_that_stops_on_failure_starts_no_more_jobs(tmp_path: Path, tiny_folder: Path) -> None:
    learn = (*TINY_ARCH, f"data.root={tiny_folder}", "model=scratch", "training.epochs=8")
    command = (*COMMON, *learn, "sweep.on_failure=stop")
    done = run_py(*command, "optimizer.lr=1e30,0.01", home=tmp_path)
    assert done.returncode == 1
    assert [record.status for record in load_records("tlft", home=tmp_path)] == ["FAILED"]
    assert "not started" in summary(done)[1]
    assert [parent.info.status for parent in parents_in(tmp_path)] == ["FAILED"]


def break_folder(tmp_path: Path) -> Path:
    folder = draw_folder(tmp_path / "broken", train=2, evaluation=2)
    picture = folder / "val" / "bees" / "1.png"
    picture.write_bytes(picture.read_bytes()[:100])
    return folder


def test_what_no_job_can_run_with_is_said_before_any_starts(tmp_path: Path) -> None:
    done = run_py(*COMMON, f"data.root={break_folder(tmp_path)}", "model=scratch", "seed=0,1", home=tmp_path / "home")
    assert (done.returncode, done.stdout) == (1, "2 jobs: 2 new\n")
    (line,) = done.stderr.splitlines()
    assert re.search(r"^failed: .*1\.png: is truncated; .*data\.on_bad_image=skip$", line)
    assert not (tmp_path / "home" / "multirun").exists()
    assert parents_in(tmp_path / "home") == []


def test_jobs_that_need_what_is_missing_fail_and_the_others_run(tmp_path: Path, tiny_folder: Path) -> None:
    roots = f"data.root={break_folder(tmp_path)},{tiny_folder}"
    command = (*COMMON, *TINY_ARCH, "model=scratch", "training.epochs=0", roots)
    stopped = run_py(*command, "sweep.on_failure=stop", home=tmp_path / "home")
    assert stopped.returncode == 1
    assert load_records("tlft", home=tmp_path / "home") == []
    done = run_py(*command, home=tmp_path / "home")
    assert done.returncode == 1
    assert re.search(r"^job 0 failed: .*1\.png: is truncated", done.stderr, re.MULTILINE)
    assert re.search(r"^job 0 failed: .*1\.png: is truncated", done.stdout, re.MULTILINE)
    assert [record.status for record in load_records("tlft", home=tmp_path / "home")] == ["FINISHED"]
    (folder,) = (tmp_path / "home" / "multirun").glob("*/*")
    assert [row["status"] for row in json.loads((folder / "sweep.json").read_text())] == ["failed", "done"]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_sweep_sums_up_and_leaves_nothing_running(
    tmp_path: Path, tiny_folder: Path, number: int, status: int
) -> None:
    command = (*COMMON, f"data.root={tiny_folder}", "model=scratch", "training.epochs=1,1000", "training.batch_size=2")
    process = WarmCommand(command, {**os.environ, "TLFT_HOME": str(tmp_path)})
    try:
        for line in process.stdout:  # an epoch of the long job has ended: the next is in its middle
            if "epoch 1/1000" in line:
                process.send_signal(number)
                break
        out, err = process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == status
    assert "Traceback" not in err
    assert re.search(r"^0\s.* done ", out, re.MULTILINE)
    assert re.search(r"^1\s.* interrupted ", out, re.MULTILINE)
    assert [record.status for record in load_records("tlft", home=tmp_path)] == ["FINISHED", "KILLED"]
    assert [parent.info.status for parent in parents_in(tmp_path)] == ["KILLED"]


def test_two_processes_started_together_on_an_empty_home_both_finish(tmp_path: Path, tiny_folder: Path) -> None:
    def start(seed: int) -> WarmCommand:
        arguments = [*COMMON[1:], f"data.root={tiny_folder}", "training.epochs=0", f"seed={seed}"]
        return WarmCommand(arguments, {**os.environ, "TLFT_HOME": str(tmp_path)})

    processes = [start(0), start(1)]
    for process in processes:
        _, err = process.communicate()
        assert process.returncode == 0, err
    assert [record.status for record in load_records("tlft", home=tmp_path)] == ["FINISHED", "FINISHED"]
    assert len(list((tmp_path / "outputs").glob("*/*"))) == 2


def test_folder_that_a_user_names_is_never_overwritten(tmp_path: Path, tiny_folder: Path) -> None:
    folder = tmp_path / "mine"
    claim_folder(folder)
    before = files_in(folder)
    done = run_py(f"data.root={tiny_folder}", *COMMON[1:], f"hydra.run.dir={folder}", home=tmp_path / "home")
    assert done.returncode == 2
    assert "holds the output of an earlier run; name another folder" in done.stderr
    assert files_in(folder) == before


def test_what_cannot_start_uses_up_no_folder(tmp_path: Path, tiny_folder: Path) -> None:
    folder, callback = tmp_path / "mine", "+hydra.callbacks.mine={_target_:no.such.Callback}"
    arguments = (f"data.root={tiny_folder}", *COMMON[1:], f"hydra.run.dir={folder}")
    assert run_py(*arguments, callback, home=tmp_path / "home").returncode == 1
    assert not folder.exists()


@pytest.mark.parametrize("launcher", ["basic", "parallel"])
def test_edit_after_the_plan_reaches_no_job(tmp_path: Path, tiny_folder: Path, launcher: str) -> None:
    project, folder = copy_project(tmp_path / "project"), tmp_path / "sweep"
    log = folder / "0" / "run.log"
    log.parent.mkdir(parents=True)
    os.mkfifo(log)  # the first job waits until it is read
    command = (
        *COMMON,
        *TINY_ARCH,
        f"data.root={tiny_folder}",
        "model=scratch",
        "seed=0,1",
        f"hydra.sweep.dir={folder}",
    )
    process = subprocess.Popen(
        [sys.executable, "run.py", *command, f"hydra/launcher={launcher}"]
        + (["hydra.launcher.jobs=1"] if launcher == "parallel" else []),
        cwd=project,
        env={**os.environ, "TLFT_HOME": str(tmp_path / "home")},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "2 jobs: 2 new\n"
    edit_recipe(project)
    with log.open() as words:
        process.communicate(timeout=300)
        assert "epoch 1/1" in words.read()
    assert process.returncode == 0
    records = load_records("tlft", home=tmp_path / "home")
    assert [record.params["optimizer.lr"] for record in records] == ["0.01", "0.01"]


@pytest.mark.parametrize("name", sorted(path.stem for path in (PROJECT / "conf" / "sweep").glob("*.yaml")))
def test_every_preset_is_a_sweep_that_composes(home: Path, name: str) -> None:
    for arguments in ([f"sweep={name}"], [f"sweep={name}", "seed=0,1"]):
        invocation = check_command_line(arguments)
        assert invocation is not None and invocation.config is None


def test_a_preset_is_not_part_of_the_command_that_repeats_a_job() -> None:
    assert (
        command_of(["sweep=demo", "experiment=fine_tune", "hydra/launcher=parallel"])
        == "python run.py experiment=fine_tune"
    )
