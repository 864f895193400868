"""What no images can be is one line and exit status 2, before anything is written."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import TINY_ARCH, draw_folder, run_py

Row = dict[str, str]


def missing_file(rows: list[Row]) -> None:
    rows[0]["path"] = "train/ants/gone.png"


def empty_label(rows: list[Row]) -> None:
    rows[1]["label"] = ""


def group_in_both_splits(rows: list[Row]) -> None:
    rows[0]["group"] = rows[-1]["group"] = "one nest"


def contradiction(rows: list[Row]) -> None:
    rows.append(rows[0] | {"label": "bees"})


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (missing_file, "{table}: a file is not there: train/ants/gone.png; paths begin at {root}"),
        (empty_label, "{table}: line 3: the label is empty; fill it in or delete the line"),
        (
            group_in_both_splits,
            "{table}: column group: group one nest stands in two splits, train/ants/0.png (line 2, train) and "
            "val/bees/1.png (line 9, eval), which makes the figure wrong; move it into one",
        ),
        (
            contradiction,
            "{table}: train/ants/0.png: stands there twice, with another label, split or group; delete one of them "
            "(line 2, line 10)",
        ),
    ],
)
def test_a_wrong_table_is_one_line(home: Path, tmp_path: Path, spoil: Callable[[list[Row]], None], said: str) -> None:
    root = draw_folder(tmp_path / "insects", train=2, evaluation=2)
    paths = sorted(path.relative_to(root) for path in root.rglob("*.png"))
    rows = [
        {"path": str(path), "label": path.parts[1], "split": path.parts[0], "group": str(number)}
        for number, path in enumerate(paths)
    ]
    spoil(rows)
    with (root / "labels.csv").open("w", newline="") as lines:
        writer = csv.DictWriter(lines, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    table = f"data.file={root / 'labels.csv'}"
    assert refused(home, "data=manifest", table) == said.format(table=table, root=root)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (
            ["data.class_map={ants:n99999999}"],
            "data.class_map.ants: none of ImageNet's 1000 classes is a kind of n99999999; `python -m tlft.imagenet "
            "WORD` finds ids",
        ),
        (
            ["data.group='([0-9])[.]png'"],
            "data.group=([0-9])[.]png: group 0 stands in two splits, train/ants/0.png (train) and val/ants/0.png "
            "(eval), which makes the figure wrong; move it into one (1 more such groups)",
        ),
        (["data.folds=3"], "data.folds=3: {root} has a folder train already; leave data.folds out, or name the folder"),
        (["data.fold=1"], "data.fold=1: of how many? give data.folds too, such as data.folds=5"),
        (["data.folds=1", "flat"], "data.folds=1: give a whole number from 2"),
        (
            ["data.folds=3", "flat"],
            "data.folds=3: class ants has 2 images, so that not every fold has one; give at most that many folds",
        ),
        (["data.train_per_class=3"], "data.train_per_class=3: class ants has 2 images to train on; give at most that"),
    ],
)
def test_a_wrong_key_is_one_line(home: Path, tmp_path: Path, keys: list[str], said: str) -> None:
    root = draw_folder(tmp_path / "insects", train=2, evaluation=2)
    given = ["data=imagefolder", f"data.root={root / 'train' if 'flat' in keys else root}"]
    line = refused(home, *given, *(key for key in keys if key != "flat"))
    assert line.startswith(said.format(root=root))


def refused(home: Path, *arguments: str) -> str:
    """Run what is wrong, and return what is said of it: the first line, if the others say the same of other classes."""
    done = run_py(*arguments, *TINY_ARCH, "model=scratch", home=home)
    assert done.returncode == 2, done.stdout + done.stderr
    first, *more = [line.removeprefix("failed: ") for line in done.stderr.splitlines() if line]
    assert [line.replace("class bees", "class ants") for line in more] in ([], [first])
    assert not (home / "mlruns").exists()
    return first
