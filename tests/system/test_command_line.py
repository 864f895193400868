"""Whole commands: what is said, which status they end with, and what they leave."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from conftest import TINY_ARCH, Configure, files_in, run_py
from safetensors.torch import save_file
from servers import free_port

from tlft.config.paths import PROJECT
from tlft.runs.identify import identify
from tlft.tracking.reader import load_records
from tlft.tracking.store import Store


def test_a_number_of_jobs_that_is_none_is_refused(home: Path) -> None:
    done = run_py("-m", "seed=0,1", "hydra/launcher=parallel", "hydra.launcher.jobs=0", "data=demo", home=home)
    assert (done.returncode, done.stderr) == (2, "hydra.launcher.jobs=0: give 1 or more\n")


def lines(done: subprocess.CompletedProcess[str]) -> Sequence[str]:
    return (done.stdout + done.stderr).strip().splitlines()


def test_exit_status_is_2_in_a_single_run(home: Path) -> None:
    done = run_py("sedd=1", "optimizer.lr=0", home=home, cold=True)
    assert done.returncode == 2
    assert len(lines(done)) == 2
    assert files_in(home) == []


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_weights_of_another_network_are_a_wrong_configuration(
    home: Path, tmp_path: Path, tiny_folder: Path, library: str
) -> None:
    arch = {"torchvision": ("arch=resnet18",), "timm": TINY_ARCH}[library]
    save_file({"conv1.weight": torch.zeros(4, 3, 3, 3)}, tmp_path / "own.safetensors")
    file = ("model=file", f"model.weights_file={tmp_path / 'own.safetensors'}", "head=task")
    done = run_py("data=imagefolder", f"data.root={tiny_folder}", *arch, *file, home=home)
    assert done.returncode == 2
    assert "own.safetensors: does not fit" in lines(done)[-1]
    assert load_records("tlft", home=home) == []


def test_wrong_job_refuses_the_whole_sweep(home: Path, tiny_folder: Path) -> None:
    done = run_py(
        "-m", "data=imagefolder", f"data.root={tiny_folder}", "seed=1,-2", "optimizer.lr=0.1,nan", home=home, cold=True
    )
    assert done.returncode == 2
    assert lines(done) == [
        "jobs 1, 3: optimizer.lr=nan: give a finite number above 0, such as 0.01",
        "jobs 2, 3: seed=-2: give a whole number of at least 0",
    ]
    assert files_in(home) == []


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--cfg", "job"], ["--info", "config"], ["sweep=demo", "--cfg", "hydra"]]
)
def test_commands_that_show_something_still_work(home: Path, arguments: list[str]) -> None:
    done = run_py(*arguments, home=home, cold=True)
    assert done.returncode == 0, done.stderr
    assert "optimizer" in done.stdout or "sweeper" in done.stdout
    assert files_in(home) == []


def test_help_composes_once() -> None:
    program = """\
import sys
from tlft.config.compose import Composer
compose, calls = Composer.compose, []
Composer.compose = lambda self, overrides: calls.append(1) or compose(self, overrides)
sys.argv = ["run.py", "--help", "seed=3"]
import tlft.run
tlft.run.main()
print(len(calls), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert "\n  seed=3 " in done.stdout
    assert done.stderr == "1\n"


@pytest.mark.parametrize("shown", [["--cfg", "job"], ["--info", "all"], ["--help"], ["--cfg", "job", "-p", "tracking"]])
def test_what_is_shown_of_a_folder_of_configurations_holds_no_password(
    home: Path, tmp_path: Path, shown: list[str]
) -> None:
    option = tmp_path / "conf" / "tracking" / "mine.yaml"
    option.parent.mkdir(parents=True)
    option.write_text('uri: "postgresql://u:s3c ret@PW@h/db"\nexperiment: tlft\n')
    done = run_py("--config-dir", str(option.parent.parent), *shown, "tracking=mine", home=home)
    assert done.returncode == 0, done.stderr
    uri = "tracking.uri=" if "--help" in shown else "uri: "
    assert f"{uri}postgresql://u:***@h/db" in done.stdout + done.stderr
    assert not re.search("s3c|ret@|PW@", done.stdout + done.stderr)


@pytest.mark.parametrize("arguments", [["--hydra-help", "tracking=local"], ["-sc"], ["-sc", "query=bash"]])
def test_what_hydra_cannot_show_is_said_in_a_line(home: Path, arguments: list[str]) -> None:
    done = run_py(*arguments, home=home)
    assert done.returncode == 2
    (line,) = lines(done)
    assert line.startswith(" ".join(arguments))


def test_only_its_own_sweeper_plans(home: Path) -> None:
    done = run_py("-m", "hydra/sweeper=basic", "seed=1,2", "plan=true", home=home)
    assert (done.returncode, files_in(home)) == (2, [])
    assert lines(done) == ["plan=true: hydra/sweeper=basic plans nothing and would run the jobs; leave one of them out"]


def test_an_option_of_a_user_without_a_schema_is_told_of_it(home: Path, tmp_path: Path) -> None:
    option = tmp_path / "conf" / "optimizer" / "mine.yaml"
    option.parent.mkdir(parents=True)
    option.write_text("name: rmsprop\nlr: 0.3\n")
    command = ("--config-dir", str(option.parent.parent), "optimizer=mine", "data=synthetic", "plan=true")
    done = run_py(*command, home=home)
    mend = "defaults: [/hydra/schema/optimizer@_here_: NAME, _self_]"
    wrong = f"optimizer=mine: its file has no schema; begin it with {mend}, NAME one of adam, adamw, sgd, torch"
    assert (done.returncode, lines(done)) == (2, [wrong])
    option.write_text(f"{mend.replace('NAME', 'sgd')}\nname: sgd\nlr: 0.3\n")
    assert run_py(*command, home=home).returncode == 0


def test_plan_of_a_single_run_writes_no_run(home: Path, tiny_folder: Path) -> None:
    done = run_py("data=imagefolder", f"data.root={tiny_folder}", "plan=true", home=home, cold=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1 job: 1 new")
    assert not (home / "outputs").exists()


COUNTING = """
import runpy, sys
from hydra._internal.config_loader_impl import ConfigLoaderImpl
compose, count = ConfigLoaderImpl.load_configuration, 0
def counted(*args, **options):
    global count
    count += 1
    return compose(*args, **options)
ConfigLoaderImpl.load_configuration = counted
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as error:
    assert not error.code, error.code
print("composed:", count)
"""


@pytest.mark.parametrize(("arguments", "count"), [((), 1), (("plan=true",), 1), (("-m", "plan=true", "seed=0,1,2"), 1)])
def test_a_configuration_is_composed_once(
    home: Path, tiny_folder: Path, arguments: tuple[str, ...], count: int
) -> None:
    """A single run once, and a sweep once, however many jobs it has: they differ in a plain key."""
    run = ("data=imagefolder", f"data.root={tiny_folder}", *TINY_ARCH, "model=scratch", "training.epochs=0")
    program = COUNTING.replace("sys.argv[0]", repr(str(PROJECT / "run.py")))
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments, *run], cwd=PROJECT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"composed: {count}"


@pytest.mark.parametrize("sweep", [[], ["-m", "seed=0,1"]])
def test_a_run_against_a_server_that_is_down_fails_in_one_line_before_any_work(
    home: Path, tiny_folder: Path, sweep: list[str]
) -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    done = run_py(
        *sweep, *TINY_ARCH, "model=scratch", "data=imagefolder", f"data.root={tiny_folder}", "tracking=server",
        f"tracking.uri={uri}", home=home, cold=True,
    )  # fmt: skip
    assert done.returncode == 1
    (line,) = (done.stdout + done.stderr).splitlines()
    assert f"failed: tracking.uri={uri}: cannot be opened (Connection refused); start the server" in line
    assert not [name for name in files_in(home) if name.startswith(("cache", "checkpoints", "mlruns", "mlflow"))]


WATCHING = """
import runpy, sys
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as error:
    assert not error.code, error.code
print("loaded:", *(name for name in ("torch", "torchvision", "timm", "sklearn", "matplotlib") if name in sys.modules))
"""


def test_a_run_that_is_skipped_loads_no_network(home: Path, tiny_folder: Path) -> None:
    run = ("data=imagefolder", f"data.root={tiny_folder}", "arch=efficientnet_lite0", "model=scratch")
    assert run_py(*run, "training.epochs=0", home=home).returncode == 0
    program = WATCHING.replace("sys.argv[0]", repr(str(PROJECT / "run.py")))
    done = subprocess.run([sys.executable, "-c", program, *run, "training.epochs=0"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "done already" in done.stdout
    assert done.stdout.splitlines()[-1] == "loaded:"


@pytest.mark.parametrize("sweep", [[], ["-m"]], ids=["single", "sweep"])
def test_what_is_left_to_another_process_has_an_exit_status_of_its_own(
    home: Path, tiny_folder: Path, configure: Configure, sweep: list[str]
) -> None:
    given = ("data=imagefolder", f"data.root={tiny_folder}", *TINY_ARCH, "model=scratch", "training.epochs=1")
    config = configure(*given)
    claim = Store(config).claim_of(identify(config).key)
    assert claim.acquire()
    done = run_py(*sweep, *given, home=home)
    claim.release()
    assert (done.returncode, load_records("tlft", home=home)) == (3, [])
    assert "running elsewhere" in done.stdout + done.stderr


def test_a_job_of_another_sweeper_fails_alone(home: Path, tiny_folder: Path) -> None:
    common = ("data=imagefolder", f"data.root={tiny_folder}", *TINY_ARCH, "model=scratch", "training.epochs=4")
    done = run_py("-m", "hydra/sweeper=basic", *common, "optimizer.lr=1e30,0.01", home=home)
    assert done.returncode == 1
    assert [record.status for record in load_records("tlft", home=home)] == ["FAILED", "FINISHED"]
    wrong = run_py("-m", "hydra/sweeper=basic", *common, "seed=-1", home=home)
    assert "failed: seed=-1: give a whole number of at least 0" in wrong.stderr
