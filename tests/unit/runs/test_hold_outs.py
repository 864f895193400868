"""A hold-out to choose by, in every layout: one that is there is taken, and what is said of none leads to one."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY_ARCH, draw_folder
from PIL import Image

from tlft.errors import ConfigurationError
from tlft.runs.preflight import check_command_line

Layout = tuple[str, ...]

NONE = (
    *("two folders", "three folders of which one reports", "one folder", "folds", "drawings"),
    *("table", "table without splits", "table in folds"),
)
OWN = ("three folders", "a named folder", "table of three", "table with a hold-out")
ASKS = ("sweep.choose=holdout", "training.patience=2")


@pytest.fixture
def layouts(tmp_path: Path) -> dict[str, Layout]:
    """Return what is typed for each layout."""
    two, three = (draw_folder(tmp_path / name) for name in ("two", "three"))
    for path in sorted((three / "val").rglob("*.png")):
        (three / "test" / path.parent.name).mkdir(parents=True, exist_ok=True)
        pixels = 255 - np.asarray(Image.open(path))
        Image.fromarray(pixels).save(three / "test" / path.parent.name / path.name)
    shutil.copytree(three / "test", two / "dev")

    def table(name: str, words: dict[str, str]) -> Layout:
        rows = [
            {"path": path, "label": path.parent.name} | ({"split": words[path.parts[-3]]} if words else {})
            for path in sorted(three.rglob("*.png"))
            if not words or path.parts[-3] in words
        ]
        with (file := tmp_path / f"{name}.csv").open("w", newline="") as lines:
            writer = csv.DictWriter(lines, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        return "data=manifest", f"data.file={file}"

    folders = ("data=imagefolder", f"data.root={two}")
    of_three = ("data=imagefolder", f"data.root={three}")
    flat = ("data=imagefolder", f"data.root={three / 'train'}")
    unsplit = table("unsplit", {})
    return {
        "two folders": folders,
        "a named folder": (*folders, "data.holdout_split=dev"),
        "three folders": of_three,
        "three folders of which one reports": (*of_three, "data.eval_split=val"),
        "one folder": (*flat, "data.eval_fraction=0.25"),
        "folds": (*flat, "data.folds=2"),
        "drawings": ("data=synthetic",),
        "table": table("two", {"train": "train", "val": "val"}),
        "table of three": table("three", {"train": "train", "val": "val", "test": "test"}),
        "table with a hold-out": table("kept", {"train": "train", "val": "holdout", "test": "test"}),
        "table without splits": (*unsplit, "data.eval_fraction=0.25"),
        "table in folds": (*unsplit, "data.folds=2"),
    }


def refused(*arguments: str) -> list[str]:
    try:
        check_command_line([*arguments, *TINY_ARCH, "model=scratch"])
    except ConfigurationError as error:
        return error.problems
    return []


@pytest.mark.parametrize("asked", ASKS)
def test_what_there_is_is_chosen_on(home: Path, layouts: dict[str, Layout], asked: str) -> None:
    assert {*NONE, *OWN} == {*layouts}
    assert {name: refused(*layouts[name], asked) for name in OWN} == {name: [] for name in OWN}
    for name in OWN:  # as sweep=probes has it
        *_, problem = refused(*layouts[name], asked, "data.holdout_fraction=0.2")
        assert "; set data.holdout_fraction=null" in problem
        assert refused(*layouts[name], asked, "data.holdout_fraction=null") == []


@pytest.mark.parametrize("asked", ASKS)
def test_where_there_is_none_what_is_said_leads_to_one(home: Path, layouts: dict[str, Layout], asked: str) -> None:
    for name in NONE:
        (problem,) = refused(*layouts[name], asked)
        assert problem.startswith(f"{asked}: there is no hold-out to ")
        assert "; set data.holdout_fraction=0.2" in problem
        assert problem.endswith(f", or {asked.partition('=')[0]}=null")
        assert refused(*layouts[name], asked, "data.holdout_fraction=0.2") == []
        assert ("data.holdout_split" in problem) == (name in ("two folders", "three folders of which one reports"))
        assert ("give some lines the split holdout" in problem) == (name == "table")
    for split in ("dev", "test"):
        named = "two folders" if split == "dev" else "three folders of which one reports"
        assert refused(*layouts[named], asked, f"data.holdout_split={split}") == []


def test_what_trains_nothing_needs_none(home: Path, layouts: dict[str, Layout]) -> None:
    assert refused(*layouts["two folders"], "training.patience=2", "training.trainable=none") == []
    whole = ("data.eval_fraction=1", "training.trainable=none", "sweep.choose=holdout")
    (problem,) = refused(*layouts["one folder"], *whole)
    assert "set data.holdout_fraction=0.2 and a smaller data.eval_fraction" in problem
