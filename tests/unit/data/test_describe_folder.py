"""`tlft data` says of a folder what a run would meet, before any run."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlft.data.__main__ import main
from tlft.evaluation.contact_sheet import MOST_CLASSES, draw_contact_sheet


@pytest.fixture
def folder(home: Path, tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "photos"))


def test_a_folder_is_described(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "train" / "ants" / "notes.txt").write_text("x")
    assert main([str(folder), "--sheet", str(tmp_path / "sheet.png")]) == 0
    text = capsys.readouterr().out
    for line in (
        f"{folder}: 28 images, 2 classes",
        "folders: train is trained on, val reports",
        "left out: 1 .txt (train/ants/notes.txt)",
        "the same bytes twice within a split: none",
        "1000-class head: ants -> 310 ant; bees -> 309 bee",
        "nearly the same: no pairs across training and evaluation",
    ):
        assert line in text.splitlines()
    assert "sizes: all 48 x 40 pixels; 28 png; " in text
    assert [line.split() for line in text.splitlines() if line.startswith("all ")] == [["all", "16", "12"]]
    assert text.splitlines()[-1] == f"run it: python run.py data=imagefolder data.root={folder}"
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 8 * 100


def test_what_makes_a_figure_wrong_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(1)
    scene = Image.fromarray(random.integers(0, 255, (6, 6, 3), dtype=np.uint8)).resize((300, 260))
    scene.save(folder / "train" / "bees" / "scene.png")
    scene.resize((290, 250)).save(folder / "val" / "bees" / "again.png")
    (folder / "val" / "ants" / "broken.png").write_bytes(b"")
    for number in range(20):
        Image.fromarray(random.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(folder / f"train/bees/m{number}.png")
    assert main([str(folder)]) == 1
    text = capsys.readouterr().out
    assert "cannot be read: 1 (val/ants/broken.png is empty); data.on_bad_image=skip leaves them out" in text
    assert "nearly the same: 1 pairs across training and evaluation\n" in text
    assert "  val/bees/again.png and train/bees/scene.png\n" in text
    assert "unbalanced: of the training images ants has 8, bees 29\n" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data.groop=x"], "data.groop=x: no such key; did you mean data.group?"),
        (["data.split_seed=-1"], "data.split_seed=-1: give a whole number of at least 0"),
        (["--sheet", "x.gif"], "--sheet x.gif: name a .png or .jpg file"),
        (["sweep=comparison"], "sweep=comparison: asks for more than one run; give each key one value"),
    ],
)
def test_what_no_run_would_take_is_a_line(
    folder: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(folder), *arguments]) == 2
    assert capsys.readouterr().err.splitlines() == [message]


def test_a_key_is_not_taken_for_the_folder(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data=hymenoptera", "data.root=/photos"]) == 2
    assert capsys.readouterr().err == "data=hymenoptera: no such folder; name the folder first, then keys\n"


def test_many_classes_are_counted_on_the_sheet() -> None:
    tile = np.zeros((8, 8, 3), np.uint8)
    names = [f"class {number}" for number in range(MOST_CLASSES + 5)]
    many = draw_contact_sheet({name: [tile] for name in names}, dict.fromkeys(names, 1))
    few = draw_contact_sheet({name: [tile] for name in names[:2]}, dict.fromkeys(names, 1))
    assert many.height < (MOST_CLASSES + 2) / 2 * few.height
