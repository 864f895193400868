"""A sweep that ends with a curve, and the command that draws it again."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import TINY_ARCH, run_py
from warm import WarmCommand

from tlft.names import Tag
from tlft.tracking.reader import load_records

SWEEP = (
    *("sweep=data_efficiency", "experiment=from_scratch", *TINY_ARCH, "data=imagefolder", "training.epochs=1"),
    *("training.batch_size=4", "data.train_fraction=0.25,0.5,1.0", "seed=0", "tracking.weights=false"),
)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> tuple[Path, str]:
    home = tmp_path_factory.mktemp("swept")
    done = run_py(*SWEEP, f"data.root={tiny_folder}", home=home)
    assert done.returncode == 0, done.stderr
    return home, done.stdout


def curve(home: Path, *arguments: str) -> tuple[int, str, str]:
    command = WarmCommand(arguments, {"TLFT_HOME": str(home), "PATH": "/usr/bin:/bin"}, module="analysis.curve")
    said = command.communicate()
    assert command.returncode is not None
    return command.returncode, *said


def test_a_sweep_with_a_curve_draws_it_and_says_it(swept: tuple[Path, str]) -> None:
    home, said = swept
    (folder,) = {path.parent for path in home.glob("multirun/*/*/curve.png")}
    assert (folder / "curve.png").read_bytes().startswith(b"\x89PNG")
    words = " ".join(said.split())
    assert "from scratch" in words and "with 4 and" in words and "with 16 training images." in words
    report = (folder / "report.html").read_text()
    assert "Over training images" in report and "data:image/svg+xml;base64," in report
    (parent,) = home.glob("mlruns/*/*/artifacts/curve.png")
    assert parent.read_bytes() == (folder / "curve.png").read_bytes()


def test_a_trained_run_has_the_number_of_its_images(swept: tuple[Path, str]) -> None:
    home, _ = swept
    assert sorted(record.tags[Tag.TRAINING_IMAGES] for record in load_records("tlft", home=home)) == ["16", "4", "8"]


@pytest.mark.parametrize(("name", "begin"), [("again.svg", b"<?xml"), ("again.png", b"\x89PNG")])
def test_the_command_draws_it_again(swept: tuple[Path, str], tmp_path: Path, name: str, begin: bytes) -> None:
    status, said, errors = curve(swept[0], "--x", "data.train_fraction", "--out", str(tmp_path / name))
    assert (status, errors) == (0, "")
    assert said.startswith("On insects, ") and said.endswith(f"wrote {tmp_path / name}\n")
    assert (tmp_path / name).read_bytes().startswith(begin)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--x", "training.epochs"), "--x training.epochs: no two runs differ in it alone; they differ in "),
        (
            ("--x", "data.train_fraction", "--out", "curve.gif"),
            "--out curve.gif: give a file that ends in .png or .svg",
        ),
        ((), "the following arguments are required: --x"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(swept: tuple[Path, str], arguments: tuple[str, ...], line: str) -> None:
    status, said, errors = curve(swept[0], *arguments)
    assert (status, said) == (2, "")
    assert line in errors and errors.count("\n") == 1


def test_a_key_that_is_none_is_refused_before_the_first_job(home: Path, tiny_folder: Path) -> None:
    done = run_py(*SWEEP, f"data.root={tiny_folder}", "sweep.curve=training.epoch", home=home)
    assert done.returncode == 2
    assert "sweep.curve=training.epoch: there is no such key" in done.stderr
    assert not (home / "multirun").exists()
