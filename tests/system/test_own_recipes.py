"""Recipes, other optimizers, augmentations and a table of images, as a user types them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import TINY_ARCH, run_py

from tlft.records.record import Record
from tlft.tracking.reader import load_records

SMALL = ("model=scratch", *TINY_ARCH, "training.batch_size=4", "tracking.weights=true")


@pytest.fixture(scope="module")
def manifest(tiny_folder: Path) -> Path:
    file = tiny_folder.parent / "labels.csv"
    paths = sorted(tiny_folder.rglob("*.png"))
    lines = [f"{path.relative_to(file.parent)},{path.parts[-2]},{path.parts[-3]}" for path in paths]
    file.write_text("\n".join(["path,label,split", *lines]))
    return file


def runs_in(home: Path) -> list[Record]:
    return [record for record in load_records("tlft", home=home) if record.key]


def test_each_recipe_is_a_run_of_its_own_and_a_row_that_says_what_it_is(tmp_path: Path, manifest: Path) -> None:
    data = ("data=manifest", f"data.file={manifest}")
    sweep = ("-m", "recipe=published,modern,gentle", "training.epochs=3", *SMALL, *data)
    done = run_py(*sweep, "schedule.warmup_epochs=1", "training.head_epochs=1", home=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    records = runs_in(tmp_path)
    assert len({record.key for record in records}) == 3
    assert {record.tags["data"] for record in records} == {f"{manifest.parent.name}/labels"}
    names = {record.params["optimizer.name"] for record in records}
    assert names == {"sgd", "adamw"}
    assert len({record.name[:24] for record in records}) == 3  # letters that MLflow's table of runs shows
    table = run_module("analysis.table", tmp_path)
    for words in ("averaged weights 0.99", "the head alone for 1", "random resized crop from 0.25 of the"):
        assert words.replace(" ", "") in re.sub(r"\s", "", table)


def run_module(module: str, home: Path) -> str:
    from warm import WarmCommand

    command = WarmCommand(["--format", "markdown"], {"TLFT_HOME": str(home)}, home, module=module)
    out, errors = command.communicate()
    assert command.returncode == 0, errors
    return str(out)


@pytest.mark.parametrize(
    "recipe",
    [
        ("optimizer=torch", "optimizer.algorithm=NAdam", "optimizer.lr=0.01", "optimizer.options={betas:[0.8,0.9]}"),
        ("augment=cutmix", "training.ema=0.9", "training.accumulate=2", "data.sampler=balanced"),
        ("training.patience=1", "data.holdout_fraction=0.25", "augment=trivial", "schedule=step"),
        ("training.dropout=0.3", "training.stochastic_depth=0.2", "training.image_size=96", "data.image_size=128"),
        ("training.head_epochs=1", "training.unfreeze_epochs=1", "training.trainable=2"),
    ],
    ids=["by name", "mixed", "ended early", "of a network", "unfrozen"],
)
def test_a_repetition_has_the_same_bits(tmp_path: Path, tiny_folder: Path, recipe: tuple[str, ...]) -> None:
    data = ("data=imagefolder", f"data.root={tiny_folder}")
    done = run_py("training.epochs=3", *SMALL, *data, *recipe, home=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (record,) = runs_in(tmp_path)
    again = run_py(f"from_run={record.run_id}", "verify=true", home=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "has the bits of run" in again.stdout


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (("optimizer=torch", "optimizer.lr=0.1"), "optimizer.algorithm: a value is missing"),
        (
            ("optimizer=torch", "optimizer.lr=0.1", "optimizer.algorithm=Adm"),
            "neither torch.optim nor timm has it; did",
        ),
        (("optimizer=torch", "optimizer.lr=0.1", "optimizer.algorithm=LBFGS"), "cannot be used with these options"),
        (("training.patience=1",), "there is no hold-out to look at"),
        (("arch=torchvision", "arch.name=resnet18", "training.dropout=0.1"), "resnet18 has none to set"),
        (("training.unfreeze_epochs=20",), "until the first of"),
        (("augment=mixup", "data.train_per_class=1"), "and 2 training images can make only one; add images, or choose"),
        (("recipe=gentle", "training.trainable=0"), "the head alone is trained to the end; leave one of them out"),
        (("data.sampler=balanced", "training.class_weights=balanced"), "rare classes would count twice"),
        (("training.dropout=1",), "training.dropout=1.0: give a number from 0 to below 1"),
        (("data=manifest", "data.file=/nowhere/labels.csv"), "data.file=/nowhere/labels.csv: no such file"),
    ],
)
def test_what_cannot_be_is_one_line_and_no_run(
    tmp_path: Path, tiny_folder: Path, overrides: tuple[str, ...], problem: str
) -> None:
    data = () if "data=manifest" in overrides else ("data=imagefolder", f"data.root={tiny_folder}")
    done = run_py(*SMALL, *data, *overrides, home=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line]
    assert problem in line
    assert not (tmp_path / "mlflow.db").exists() or runs_in(tmp_path) == []
