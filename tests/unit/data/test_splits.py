"""Splits that are drawn never go through a group."""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from conftest import Configure
from PIL import Image

from tlft.config.validate import find_problems as config_problems
from tlft.data.dataset import Dataset, find_problems, open_dataset
from tlft.data.image_folder import Folder
from tlft.data.split_folders import SplitFolders
from tlft.data.splits import split_images
from tlft.errors import ConfigurationError

BURST = r"data.group='([^/]+)_\d+\.png$'"


def write_bursts(root: Path, classes: tuple[str, ...], bursts: int, size: int, prefix: str = "") -> None:
    """Write `<class>/<burst>_<number>.png`; a burst of the same name in two classes is one group."""
    for number, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for burst in range(bursts):
            for index in range(size):
                random = np.random.default_rng([number, burst, index, len(prefix)])
                pixels = random.integers(0, 255, (12, 12, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / name / f"{prefix}{name[0]}{burst}_{index}.png")


def opened(configure: Configure, root: Path, *overrides: str) -> Dataset:
    config = configure("data=imagefolder", f"data.root={root}", *overrides)
    return open_dataset(config.data, config.home)


def groups_by_split(dataset: Dataset) -> dict[str, set[str]]:
    return {split: {image.group for image in dataset.split(split)} for split in ("train", "eval", "holdout")}


@pytest.mark.parametrize("more", [(), ("data.holdout_fraction=0.25",), ("data.train_fraction=0.5",)])
def test_no_group_is_cut(configure: Configure, tmp_path: Path, more: tuple[str, ...]) -> None:
    write_bursts(tmp_path / "bursts", ("ants", "bees"), bursts=12, size=4)
    dataset = opened(configure, tmp_path / "bursts", "data.eval_fraction=0.25", BURST, *more)
    groups = groups_by_split(dataset)
    assert not groups["train"] & groups["eval"]
    assert not groups["train"] & groups["holdout"]
    assert not groups["eval"] & groups["holdout"]
    assert (len(groups["eval"]), len(dataset.split("eval"))) == (6, 24)
    for split in ("train", "eval"):
        assert {image.label for image in dataset.split(split)} == {0, 1}
    cut = opened(configure, tmp_path / "bursts", "data.eval_fraction=0.25", *more)
    assert cut.digests != dataset.digests


def test_a_group_with_images_of_two_classes_stays_whole(configure: Configure, tmp_path: Path) -> None:
    write_bursts(tmp_path / "patients", ("sick", "sound"), bursts=10, size=3)
    dataset = opened(configure, tmp_path / "patients", "data.eval_fraction=0.3", BURST)
    groups = groups_by_split(dataset)
    assert len(groups["eval"]) == 3
    assert not groups["train"] & groups["eval"]
    assert len(dataset.split("eval")) == 18


def test_groups_of_one_image_split_as_none_do(configure: Configure, tmp_path: Path) -> None:
    write_bursts(tmp_path / "bursts", ("ants", "bees"), bursts=9, size=2)
    common = ("data.eval_fraction=0.25", "data.holdout_fraction=0.2", "data.train_fraction=0.7")
    alone = opened(configure, tmp_path / "bursts", *common, r"data.group='(.+)'")
    assert alone.digests == opened(configure, tmp_path / "bursts", *common).digests


def test_folders_of_splits_keep_their_digests(configure: Configure, tmp_path: Path) -> None:
    """So that a run is the same run with and without groups."""
    for split in ("train", "val"):
        write_bursts(tmp_path / "bursts" / split, ("ants", "bees"), bursts=3, size=2, prefix=split)
    grouped = opened(configure, tmp_path / "bursts", BURST)
    assert grouped.digests == opened(configure, tmp_path / "bursts").digests
    assert len(groups_by_split(grouped)["eval"]) == 6


def test_a_group_in_two_folders_is_named_before_anything_is_read(configure: Configure, tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_bursts(tmp_path / "bursts" / split, ("ants", "bees"), bursts=3, size=2)
    config = configure("data=imagefolder", f"data.root={tmp_path / 'bursts'}", BURST)
    (problem,) = find_problems(config.data, config.home)[1]
    assert "group a0 stands in two splits, train/ants/a0_0.png (train) and val/ants/a0_0.png (eval)" in problem
    assert problem.endswith("move it into one (5 more such groups)")


def test_a_file_without_a_group_is_named(configure: Configure, tmp_path: Path) -> None:
    write_bursts(tmp_path / "bursts", ("ants", "bees"), bursts=5, size=2)
    shutil.copy(tmp_path / "bursts" / "ants" / "a0_0.png", tmp_path / "bursts" / "ants" / "other.png")
    with pytest.raises(ConfigurationError, match=r"finds no group in ants/other\.png; let it match each file's path"):
        opened(configure, tmp_path / "bursts", "data.eval_fraction=0.25", BURST)


def test_too_few_groups_are_said(configure: Configure, tmp_path: Path) -> None:
    write_bursts(tmp_path / "bursts", ("ants", "bees"), bursts=1, size=4)
    with pytest.raises(
        ConfigurationError,
        match=r"no image of class ants is left for the eval split; add images, in more groups than one \(data\.group=",
    ):
        opened(configure, tmp_path / "bursts", "data.eval_fraction=0.25", BURST)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("'('", "is no regular expression"), ("'a+'", "has 0 groups"), ("'(a)(b)'", "has 2 groups"), ("'(?:a)'", "has 0")],
)
def test_a_wrong_expression_is_said(configure: Configure, pattern: str, message: str) -> None:
    (problem,) = config_problems(configure("data=imagefolder", "data.root=/a", f"data.group={pattern}"))
    assert f"data.group={pattern.strip(chr(39))}: {message}" in problem
    assert not config_problems(configure("data=imagefolder", "data.root=/a", "data.group=near_duplicates"))


@pytest.mark.parametrize("pattern", ["'('", "'a+'", "''", "near_duplicate"])
def test_a_wrong_expression_is_left_to_the_check_of_values(configure: Configure, tmp_path: Path, pattern: str) -> None:
    write_bursts(tmp_path / "bursts", ("ants", "bees"), bursts=2, size=1)
    given = ("data=imagefolder", f"data.root={tmp_path / 'bursts'}", "data.eval_fraction=0.5")
    config = configure(*given, f"data.group={pattern}")
    assert find_problems(config.data, config.home)[1] == []
    assert len(config_problems(config)) == 1
    assert ("did you mean near_duplicates" in config_problems(config)[0]) == (pattern == "near_duplicate")


def folds_of(configure: Configure, root: Path, folds: int, *more: str) -> list[Dataset]:
    return [opened(configure, root, f"data.folds={folds}", f"data.fold={fold}", *more) for fold in range(folds)]


@pytest.mark.parametrize("more", [(), (BURST,)])
def test_each_image_is_in_one_fold_which_has_as_many_of_each_class(
    configure: Configure, tmp_path: Path, more: tuple[str, ...]
) -> None:
    write_bursts(tmp_path / "bursts", ("ants", "bees"), bursts=10, size=3)
    datasets = folds_of(configure, tmp_path / "bursts", 4, *more)
    evaluated = [image.sha256 for dataset in datasets for image in dataset.split("eval")]
    assert len(evaluated) == len(set(evaluated)) == 60
    for dataset in datasets:
        assert {image.sha256 for image in dataset.images} == set(evaluated)
        counts = [sum(image.label == label for image in dataset.split("eval")) for label in (0, 1)]
        assert all(abs(count - 7.5) < (2 if more else 1) for count in counts), counts
        assert not more or not groups_by_split(dataset)["train"] & groups_by_split(dataset)["eval"]
    assert len({dataset.whole for dataset in datasets}) == 1
    assert len({dataset.digests["eval"] for dataset in datasets}) == 4
    sizes = [len(dataset.split("eval")) for dataset in datasets]
    assert max(sizes) - min(sizes) <= (3 if more else 1), sizes


def test_folds_are_drawn_by_content_and_seed(configure: Configure, tmp_path: Path) -> None:
    write_bursts(tmp_path / "bursts", ("ants", "bees"), bursts=6, size=2)
    shutil.copytree(tmp_path / "bursts", tmp_path / "others")
    for index, path in enumerate(sorted((tmp_path / "others").rglob("*.png"))):
        path.rename(path.with_name(f"{100 - index}.png"))
    first, other = (folds_of(configure, tmp_path / name, 3) for name in ("bursts", "others"))
    assert [dataset.digests for dataset in first] == [dataset.digests for dataset in other]
    again = folds_of(configure, tmp_path / "bursts", 3, "data.split_seed=1")
    assert [dataset.digests for dataset in first] != [dataset.digests for dataset in again]
    held_out = opened(configure, tmp_path / "bursts", "data.folds=3", "data.holdout_fraction=0.25")
    assert held_out.digests["eval"] == first[0].digests["eval"]
    assert len(held_out.split("holdout")) == 4


def test_what_folds_cannot_be_is_one_line(configure: Configure, tmp_path: Path) -> None:
    write_bursts(tmp_path / "bursts", ("ants", "bees"), bursts=2, size=2)
    with pytest.raises(ConfigurationError, match="class ants has 4 images, so that not every fold has one"):
        opened(configure, tmp_path / "bursts", "data.folds=5")
    with pytest.raises(ConfigurationError, match="class ants has 2 groups, so that not every fold has one"):
        opened(configure, tmp_path / "bursts", "data.folds=3", BURST)
    shutil.copytree(tmp_path / "bursts", tmp_path / "split" / "train")
    shutil.copytree(tmp_path / "bursts", tmp_path / "split" / "val")
    config = configure("data=imagefolder", f"data.root={tmp_path / 'split'}", "data.folds=3")
    (problem,) = find_problems(config.data, config.home)[1]
    assert "data.folds=3" in problem
    assert "has a folder train already; leave data.folds out" in problem


@pytest.mark.parametrize(
    "overrides",
    [("data.folds=4",), ("data.eval_fraction=0.25", "data.train_per_class=2"), ("data.eval_fraction=0.25",)],
)
@pytest.mark.parametrize("grouped", [False, True])
def test_images_of_many_classes_are_split_in_one_pass(
    configure: Configure, overrides: tuple[str, ...], grouped: bool
) -> None:
    def steps(classes: int) -> int:
        count = 0

        def trace(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal count
            frame.f_trace_opcodes = True
            count += event == "opcode"
            return trace

        root = Path("/photos")
        files = {f"c{number}": [root / f"c{number}" / str(index) for index in range(8)] for number in range(classes)}
        folder = Folder(root, f"data.root={root}", SplitFolders({"all": ""}), {"all": files})
        paths = [path for of_class in files.values() for path in of_class]
        folder.groups = {path: f"{path.parts[2]} {int(path.name) // 2}" for path in paths} if grouped else {}
        digests = {path: hashlib.sha256(bytes(path)).hexdigest() for path in paths}
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            split_images(folder, digests, config.data)
        finally:
            sys.settrace(before)
        return count

    config = configure("data=manifest", "data.file=/photos/labels.csv", *overrides)
    few, many = steps(50), steps(200)
    assert 0 < many < 6 * few  # a step for each pair of an image and a class would be 16 times as many
