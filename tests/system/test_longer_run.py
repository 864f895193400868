"""A finished run is trained further: to the bits of one in one go, or from the start, with a line that says why."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import TINY_ARCH, run_py

from tlft.database.places import local_folder
from tlft.names import CURVES, Artifact, Param, Tag
from tlft.records.record import Record
from tlft.storage.files import sha256_of
from tlft.tracking.reader import load_curves, load_records


def train(home: Path, folder: Path, epochs: int, *overrides: str) -> tuple[Record, str]:
    data = ("data=imagefolder", f"data.root={folder}", "training.batch_size=4")
    done = run_py(*data, *TINY_ARCH, "model=scratch", f"training.epochs={epochs}", *overrides, home=home)
    assert done.returncode == 0, done.stdout + done.stderr
    (record,) = [each for each in load_records("tlft", home=home) if each.params[Param.EPOCHS] == str(epochs)]
    return record, done.stdout


def bits(record: Record) -> tuple[str, ...]:
    folder = local_folder(record.artifacts)
    assert folder is not None
    return tuple(sha256_of(folder / name) for name in (Artifact.WEIGHTS, Artifact.PREDICTIONS))


def curves(record: Record, home: Path) -> dict[str, list[tuple[int, float]]]:
    return load_curves([record], CURVES, home=home)[record.run_id]


@pytest.mark.parametrize(
    "recipe",
    [
        (),
        ("optimizer=adamw", "training.ema=0.9", "schedule=step", "schedule.step_epochs=1", "training.eval_every=1"),
        ("training.keep=lowest_train_loss",),
        ("training.patience=2", "data.holdout_fraction=0.25"),
        ("training.trainable=head",),
        ("training.head_epochs=1", "training.unfreeze_epochs=1", "training.trainable=2", "schedule.warmup_epochs=3"),
    ],
    ids=["plain", "averaged", "lowest loss", "patience", "probe", "unfrozen"],
)
def test_more_epochs_go_on_from_those_that_were_trained_to_the_bits_of_one_go(
    tmp_path: Path, tiny_folder: Path, recipe: tuple[str, ...]
) -> None:
    shorter, _ = train(tmp_path / "twice", tiny_folder, 3, "checkpoint.keep=true", *recipe)
    longer, said = train(tmp_path / "twice", tiny_folder, 6, *recipe)
    whole, _ = train(tmp_path / "once", tiny_folder, 6, *recipe)
    assert "goes on after epoch 3 of run" in said
    assert longer.key == whole.key != shorter.key
    assert bits(longer) == bits(whole)
    assert longer.tags[Tag.CONTINUES] == shorter.run_id
    assert Tag.CONTINUES not in whole.tags
    assert curves(longer, tmp_path / "twice") == curves(whole, tmp_path / "once")
    measured = [name for name in whole.metrics if name.startswith(("eval/", "train/loss", "holdout/"))]
    assert {name: longer.metrics[name] for name in measured} == {name: whole.metrics[name] for name in measured}


@pytest.mark.parametrize(
    ("of_shorter", "of_both", "reason"),
    [
        ((), (), "the 5 epochs of run .* are trained again, since it kept no checkpoint"),
        (("checkpoint.keep=true",), ("schedule=cosine",), "since schedule=cosine brings the rate to zero"),
        (("checkpoint.keep=true",), ("training.keep=lowest_train_loss",), "looks at another fifth of the epochs"),
    ],
    ids=["no checkpoint", "cosine", "lowest loss"],
)
def test_where_that_cannot_be_a_line_says_why(
    tmp_path: Path, tiny_folder: Path, of_shorter: tuple[str, ...], of_both: tuple[str, ...], reason: str
) -> None:
    train(tmp_path, tiny_folder, 5, *of_shorter, *of_both)
    longer, said = train(tmp_path, tiny_folder, 6, *of_both)
    assert re.search(reason, said)
    assert Tag.CONTINUES not in longer.tags


def test_a_damaged_checkpoint_is_said_and_not_used(tmp_path: Path, tiny_folder: Path) -> None:
    shorter, _ = train(tmp_path, tiny_folder, 2, "checkpoint.keep=true")
    folder = local_folder(shorter.artifacts)
    assert folder is not None
    (tensors,) = (folder / Artifact.CHECKPOINT).glob("*.safetensors")
    tensors.write_bytes(tensors.read_bytes()[:-1] + b"\0")
    longer, said = train(tmp_path, tiny_folder, 4)
    assert "since its checkpoint is damaged" in said
    whole, _ = train(tmp_path / "other", tiny_folder, 4)
    assert bits(longer) == bits(whole)


def test_of_several_the_longest_counts_and_nobody_goes_on_from_another_recipe(
    tmp_path: Path, tiny_folder: Path
) -> None:
    train(tmp_path, tiny_folder, 1, "checkpoint.keep=true")
    longest, _ = train(tmp_path, tiny_folder, 2, "checkpoint.keep=true")
    longer, said = train(tmp_path, tiny_folder, 4)
    assert longer.tags[Tag.CONTINUES] == longest.run_id
    _, said = train(tmp_path, tiny_folder, 5, "seed=1")
    assert "goes on" not in said
    assert "trained again" not in said
