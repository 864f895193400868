"""Data of which ImageNet has some classes, or none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import TINY_ARCH, draw_folder, run_py
from fabricated import compose
from PIL import Image

from analysis.footnotes import cautions
from analysis.query import TableQuery, load_table
from tlft.config.compose import Composer
from tlft.errors import ConfigurationError
from tlft.runs.experiment import run_experiment
from tlft.runs.identify import identify

ZERO_SHOT = ("head=imagenet1k", "training.trainable=none")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ants, bees, and a class of which ImageNet has nothing."""
    root = draw_folder(tmp_path / "three")
    for split, count in (("train", 5), ("val", 4)):
        (root / split / "zz").mkdir()
        for index in range(count):
            pixels = np.random.default_rng([7, index, count]).integers(0, 255, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / split / "zz" / f"{index}.png")
    return root


def test_classes_without_outputs_are_left_out_of_the_untouched_network_alone(
    composer: Composer, home: Path, folder: Path
) -> None:
    with pytest.raises(ConfigurationError, match=r"for class zz; .*data.unmapped=leave_out scores the other classes"):
        identify(compose(composer, home, folder, *ZERO_SHOT))
    leave_out = "data.unmapped=leave_out"
    run_experiment(compose(composer, home, folder, *ZERO_SHOT, leave_out))
    run_experiment(compose(composer, home, folder, "training.epochs=1", leave_out))
    table, reader = load_table(TableQuery())
    (row,) = table.rows
    frames = {cell: reader.predictions(table.runs)[row.cells[cell].run_ids[0]] for cell in ("zero_shot", "fine_tune")}
    assert {cell: sorted(set(frame["label"])) for cell, frame in frames.items()} == {
        "zero_shot": ["ants", "bees"],
        "fine_tune": ["ants", "bees", "zz"],
    }
    evidence = table.evidence
    assert evidence is not None
    for claim in evidence.claims_of(row):
        assert claim.comparison.images == 12
        assert claim.caveats == (
            "4 images left out that one side did not see",
            "closed-set 3 and 2 classes compete, which is not compared",
        )
        assert not claim.closed_set
    assert any("on the images of 2 of 3 classes (not of zz)" in note for note in cautions(table, row.data))


def test_one_class_that_has_outputs_is_not_scored_by_itself(composer: Composer, home: Path, folder: Path) -> None:
    (folder / "train" / "bees").rename(folder / "train" / "yy")
    (folder / "val" / "bees").rename(folder / "val" / "yy")
    for leave_out in ((), ("data.unmapped=leave_out",)):
        with pytest.raises(ConfigurationError) as refused:
            identify(compose(composer, home, folder, *ZERO_SHOT, *leave_out))
        assert len(refused.value.problems) == 2
        for problem, name in zip(refused.value.problems, ("yy", "zz"), strict=True):
            assert f"no ImageNet output stands for class {name}; give its outputs" in problem
            assert problem.endswith("; data.unmapped=leave_out needs two classes that have outputs")


def test_what_may_be_left_out_changes_no_key_where_nothing_is(
    composer: Composer, home: Path, tiny_folder: Path
) -> None:
    keys = {
        identify(compose(composer, home, tiny_folder, *ZERO_SHOT, f"data.unmapped={unmapped}")).key
        for unmapped in ("refuse", "leave_out")
    }
    assert len(keys) == 1


def test_a_sweep_leaves_out_whom_it_cannot_ask_and_the_table_says_why(home: Path, tmp_path: Path) -> None:
    root = draw_folder(tmp_path / "drawn")
    for split in ("train", "val"):
        for number, name in enumerate(("ants", "bees")):
            (root / split / name).rename(root / split / str(number))
    jobs = ("-m", "data=imagefolder", f"data.root={root}", *TINY_ARCH, "training.batch_size=8", "training.epochs=1")
    sweep = (
        "-m",
        "data=imagefolder",
        f"data.root={root}",
        "experiment=zero_shot,from_scratch",
        "arch=efficientnet_lite0",
    )
    plan = run_py(*sweep, "plan=true", home=home)
    assert plan.returncode == 0, plan.stderr
    said = " ".join((plan.stdout + plan.stderr).split())
    assert "left out: job 0: head=imagenet1k: no ImageNet output stands for class 0; give its outputs by index" in said
    assert "1 job: 1 new" in said
    done = run_py(*jobs, "model=scratch", "head=task", home=home)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "no output of ImageNet's stands for its classes (0, 1), so the untouched network is not asked" in said
    only = run_py(*jobs[1:], "experiment=zero_shot", home=home)
    assert only.returncode == 2
    assert "no ImageNet output stands for class 0" in only.stderr
