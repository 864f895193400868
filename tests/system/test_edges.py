"""A disk that is full, folders that may not be written: a line each, and the same command goes on once it is mended."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import TINY_ARCH, files_in, run_py

from tlft import clean, sync
from tlft.config.paths import PROJECT
from tlft.errors import ConfigurationError
from tlft.records.record import Record
from tlft.runs.preflight import check_command_line
from tlft.tracking.reader import load_records

IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root may mount a small disk or become another user")


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a disk of 8 MB, which `resize` makes larger; TLFT_HOME is a folder there."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not IS_ROOT or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", folder]).returncode:
        pytest.skip("a small disk cannot be mounted here")
    monkeypatch.setenv("TLFT_HOME", str(folder / "home"))
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)  # this process may still have the database open


SIX_MEGABYTES = ("arch=torchvision", "arch.name=mobilenet_v3_small")
"""A network whose weights are too large for a small disk."""


def resize(disk: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)


def train(home: Path, folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    small = ("data=imagefolder", f"data.root={folder}", "training.epochs=2", "training.batch_size=6", "threads=1")
    return run_py(*overrides, *SIX_MEGABYTES, *small, "model=scratch", "checkpoint.every_minutes=0", home=home)


def only(home: Path) -> Record:
    (record,) = load_records("tlft", home=home)
    return record


def test_a_run_whose_disk_is_full_is_failed_and_goes_on_when_there_is_space(disk: Path, tiny_folder: Path) -> None:
    """Neither a checkpoint nor the weights fit."""
    done = train(disk / "home", tiny_folder)
    assert done.returncode == 1, done.stderr
    assert "no checkpoint was written; the training goes on" in done.stderr
    assert "the disk is full; free some space or set paths.home, and run the same command again" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    failed = only(disk / "home")
    assert failed.status == "FAILED"
    resize(disk, "100m")
    again = train(disk / "home", tiny_folder)
    assert again.returncode == 0, again.stderr
    assert (only(disk / "home").run_id, only(disk / "home").status) == (failed.run_id, "FINISHED")
    assert sync.main(["--verify"]) == 0


def test_what_mlflow_cannot_take_on_a_full_disk_is_delivered_later(disk: Path, tiny_folder: Path) -> None:
    """The weights fit once, as a file of the run, and not a second time, as MLflow's."""
    resize(disk, "16m")
    done = train(disk / "home", tiny_folder)
    assert done.returncode == 0, done.stderr
    assert "the tracking store takes nothing now (No space left on device" in done.stderr
    assert "`python -m tlft.sync` delivers the rest, and so does the same command" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    resize(disk, "100m")
    again = train(disk / "home", tiny_folder)
    assert again.stderr.startswith("done already: ") or again.stdout.startswith("done already: ")
    assert only(disk / "home").status == "FINISHED"
    assert sync.main(["--verify"]) == 0


def fill(disk: Path) -> Path:
    """Write a file until nothing more fits."""
    with (disk / "fill").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(bytes(4096))
    return disk / "fill"


@pytest.mark.parametrize("arguments", [(), ("-m", "seed=0,1"), ("plan=true",)])
def test_a_disk_that_is_full_at_the_start_is_one_line(disk: Path, tiny_folder: Path, arguments: tuple[str]) -> None:
    fill(disk)
    done = train(disk / "home", tiny_folder, *arguments)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "(No space left on device); free some space" in line


def test_a_full_disk_can_be_cleaned(disk: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    resize(disk, "16m")
    done = train(disk / "home", tiny_folder, "training.trainable=none", "tracking.weights=false")
    assert done.returncode == 0, done.stderr
    fill(disk)
    assert clean.main(["--yes", "--max-gb", "0"]) == 0
    assert "deleted 2, " in capsys.readouterr().out  # decoded images and features
    assert only(disk / "home").status == "FINISHED"


@pytest.mark.parametrize("name", ["cache", "cache/locks", "cache/decoded", "checkpoints", "mlruns", "outputs"])
def test_a_file_in_place_of_a_folder_is_one_line(home: Path, tiny_folder: Path, name: str) -> None:
    (home / name).parent.mkdir(exist_ok=True)
    (home / name).write_text("in the way")
    before = files_in(home)
    with pytest.raises(ConfigurationError) as caught:
        check_command_line(["data=imagefolder", f"data.root={tiny_folder}", "model=scratch"])
    assert caught.value.problems == [
        f"{home / name}: is a file where a folder belongs; move it away, or set paths.home"
    ]
    assert files_in(home) == before


@pytest.fixture
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield a folder that every user may pass through, as pytest's own are not."""
    from tempfile import mkdtemp

    folder = Path(mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def as_nobody(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the check of a command line as a user who owns nothing."""
    program = (
        "import sys; from tlft.runs.preflight import *; from tlft.terminal.command_line import exit_with\n"
        "try: check_command_line(sys.argv[1:])\n"
        "except ConfigurationError as error: exit_with(error)"
    )
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-c", program]
    environment = {**os.environ, "TLFT_HOME": str(home), "PYTHONPATH": str(PROJECT), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([*command, *arguments], env=environment, cwd=home, capture_output=True, text=True)


@needs_root
@pytest.mark.skipif(not shutil.which("setpriv"), reason="needs setpriv")
def test_folders_without_write_permission_are_one_line_each(shared: Path) -> None:
    arguments = ("data=synthetic", "model=scratch", *TINY_ARCH)
    if as_nobody(shared, "--help").returncode:
        pytest.skip("another user cannot run this Python")
    done = as_nobody(shared, *arguments)
    assert (done.returncode, done.stderr.splitlines()) == (
        2,
        [
            f"paths.home={shared}: cannot write in {shared} (Permission denied); take the right to, or set paths.home "
            "or TLFT_HOME to a folder of yours"
        ],
    )
    shared.chmod(0o777)
    assert as_nobody(shared, *arguments).returncode == 0
    (shared / "checkpoints").mkdir(mode=0o755)
    (shared / "mlruns").mkdir(mode=0o755)
    done = as_nobody(shared, *arguments)
    assert done.returncode == 2
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == [
        str(shared / "checkpoints"),
        str(shared / "mlruns"),
    ]
    assert all("may not be written to; take the right to" in line for line in done.stderr.splitlines())
