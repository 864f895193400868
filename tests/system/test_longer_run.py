"""A finished run is trained further: to the bits of one in one go, or from the start, with a line that says why."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import TINY_ARCH, run_py
from fabricated import compose

from tlft.config.compose import Composer
from tlft.database.places import local_folder
from tlft.names import CURVES, Artifact, Param, Tag
from tlft.records.record import Record
from tlft.runs.experiment import run_experiment
from tlft.storage.files import sha256_of
from tlft.tracking.reader import load_curves, load_records

Train = Callable[..., tuple[Record, str]]


@pytest.fixture
def train(composer: Composer, tiny_folder: Path, caplog: pytest.LogCaptureFixture) -> Train:
    """Return what trains a run of so many epochs in a home, and tells what was said."""

    def train(home: Path, epochs: int, *overrides: str) -> tuple[Record, str]:
        caplog.clear()
        caplog.set_level("INFO")
        recipe = ("training.batch_size=4", f"training.epochs={epochs}", *overrides)
        run_experiment(compose(composer, home, tiny_folder, "data=imagefolder", *TINY_ARCH, "model=scratch", *recipe))
        of_epochs = [each for each in load_records("tlft", home=home) if each.params[Param.EPOCHS] == str(epochs)]
        assert len(of_epochs) == 1 or "force=true" in overrides
        record = of_epochs[-1]
        return record, caplog.text

    return train


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
    tmp_path: Path, train: Train, recipe: tuple[str, ...]
) -> None:
    shorter, _ = train(tmp_path / "twice", 3, "checkpoint.keep=true", *recipe)
    longer, said = train(tmp_path / "twice", 6, *recipe)
    whole, _ = train(tmp_path / "once", 6, *recipe)
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
    tmp_path: Path, train: Train, of_shorter: tuple[str, ...], of_both: tuple[str, ...], reason: str
) -> None:
    train(tmp_path, 5, *of_shorter, *of_both)
    longer, said = train(tmp_path, 6, *of_both)
    assert re.search(reason, said)
    assert Tag.CONTINUES not in longer.tags


def test_by_force_all_epochs_are_trained_anew(tmp_path: Path, train: Train) -> None:
    train(tmp_path, 2, "checkpoint.keep=true")
    continued, _ = train(tmp_path, 3, "checkpoint.keep=true")
    assert Tag.CONTINUES in continued.tags
    for epochs in (3, 4):  # as one that is finished with its checkpoint, and as one that is new
        anew, said = train(tmp_path, epochs, "checkpoint.keep=true", "force=true")
        assert Tag.CONTINUES not in anew.tags
        assert not re.search("goes on|trained again", said)
        assert f"epoch 1/{epochs}" in said
        assert anew.run_id != continued.run_id


def test_a_damaged_checkpoint_is_said_and_not_used(tmp_path: Path, train: Train) -> None:
    shorter, _ = train(tmp_path, 2, "checkpoint.keep=true")
    folder = local_folder(shorter.artifacts)
    assert folder is not None
    (tensors,) = (folder / Artifact.CHECKPOINT).glob("*.safetensors")
    tensors.write_bytes(tensors.read_bytes()[:-1] + b"\0")
    longer, said = train(tmp_path, 4)
    assert "since its checkpoint is damaged" in said
    whole, _ = train(tmp_path / "other", 4)
    assert bits(longer) == bits(whole)


def test_of_several_the_longest_counts_and_nobody_goes_on_from_another_recipe(tmp_path: Path, train: Train) -> None:
    train(tmp_path, 1, "checkpoint.keep=true")
    longest, _ = train(tmp_path, 2, "checkpoint.keep=true")
    longer, said = train(tmp_path, 4)
    assert longer.tags[Tag.CONTINUES] == longest.run_id
    _, said = train(tmp_path, 5, "seed=1")
    assert "goes on" not in said
    assert "trained again" not in said


def test_the_same_command_with_more_epochs_is_all_that_is_typed(tmp_path: Path, tiny_folder: Path) -> None:
    command = ("data=imagefolder", f"data.root={tiny_folder}", *TINY_ARCH, "model=scratch", "checkpoint.keep=true")
    for epochs, said in ((1, ""), (2, "goes on after epoch 1 of run"), (2, "")):
        done = run_py(*command, f"training.epochs={epochs}", home=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert said in done.stdout
    assert len(load_records("tlft", home=tmp_path)) == 2
