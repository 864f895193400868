from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import Configure
from safetensors.torch import load_file
from tiny_network import CPU, Recorder, TinyClassifier, make_split
from torch import nn

from tlft.config.schema import Config
from tlft.errors import TlftError
from tlft.models.freeze import freeze
from tlft.training import checkpoint
from tlft.training.checkpoint import Checkpoints, save_tensors
from tlft.training.loop import TrainingState, fresh_state, train

KEY = "a" * 64
SMALL = ("training.epochs=3", "training.batch_size=4")


class KilledError(Exception):
    """Stands for kill -9: nothing of the process is left but its files."""


class Saving(Recorder):
    """Saves after every step and epoch, and is killed at the step that it is told."""

    def __init__(self, checkpoints: Checkpoints, killed_after: int | None = None, every: int = 1) -> None:
        super().__init__()
        self.checkpoints, self.killed_after, self.every = checkpoints, killed_after, every

    def step(self, images: int, loss: float, model: nn.Module, state: TrainingState) -> None:
        super().step(images, loss, model, state)
        if state.step % self.every == 0:
            self.checkpoints.save(model, state, CPU)
        if state.step == self.killed_after:
            raise KilledError

    def epoch(self, metrics: dict[str, float], model: nn.Module, state: TrainingState) -> None:
        super().epoch(metrics, model, state)
        self.checkpoints.save(model, state, CPU)


def build(config: Config, seed: int = 0) -> tuple[nn.Module, TrainingState]:
    torch.manual_seed(seed)
    model = TinyClassifier()
    freeze(model, config.training.trainable)
    return model.to(memory_format=torch.channels_last), fresh_state(config, model)


def run(config: Config, folder: Path, killed_after: int | None = None, every: int = 1) -> tuple[nn.Module, Recorder]:
    """Train, from the checkpoint if there is one, in what is a new process for all that matters."""
    model, state = build(config, seed=99 if folder.exists() else 0)  # a resumed run owes nothing to how it was built
    checkpoints = Checkpoints(folder, KEY)
    checkpoints.restore(model, state, CPU)
    report = Saving(checkpoints, killed_after, every)
    train(model, make_split(), config, CPU, state, report)
    return model, report


def same(first: nn.Module, second: nn.Module) -> bool:
    states = (first.state_dict().values(), second.state_dict().values())
    return all(torch.equal(a, b) for a, b in zip(*states, strict=True))


OPTIMIZERS = [
    ("optimizer=sgd",),
    ("optimizer=adam",),
    ("optimizer=adamw", "schedule=cosine", "schedule.warmup_epochs=1"),
    ("training.keep=lowest_train_loss",),
    ("training.trainable=head", "optimizer.nesterov=true"),
    ("training.batch_size=3",),  # of ten images: the lone one joins
]


@pytest.mark.parametrize("overrides", OPTIMIZERS, ids=" ".join)
@pytest.mark.parametrize("killed_after", range(1, 10))
def test_killed_after_any_step_the_run_ends_with_the_same_bits(
    configure: Configure, tmp_path: Path, overrides: tuple[str, ...], killed_after: int
) -> None:
    config = configure(*SMALL, *overrides)
    undisturbed, whole = run(config, tmp_path / "undisturbed")
    with pytest.raises(KilledError):
        run(config, tmp_path / "killed", killed_after)
    resumed, report = run(config, tmp_path / "killed")
    assert same(undisturbed, resumed)
    assert report.steps == whole.steps[killed_after:]
    for metrics, expected in zip(reversed(report.epochs), reversed(whole.epochs), strict=False):
        assert metrics["train/loss"] == expected["train/loss"]
        assert metrics["train/lr"] == expected["train/lr"]


def test_what_was_done_since_the_checkpoint_is_done_again_with_the_same_bits(
    configure: Configure, tmp_path: Path
) -> None:
    config = configure(*SMALL)
    undisturbed, whole = run(config, tmp_path / "undisturbed")
    with pytest.raises(KilledError):
        run(config, tmp_path / "killed", killed_after=5, every=4)
    resumed, report = run(config, tmp_path / "killed", every=4)
    assert report.steps == whole.steps[4:]
    assert same(undisturbed, resumed)


@pytest.fixture
def saved(configure: Configure, tmp_path: Path) -> Path:
    """Return a folder with the checkpoints of steps 4 and 5."""
    with pytest.raises(KilledError):
        run(configure(*SMALL), tmp_path / "saved", killed_after=5)
    return tmp_path / "saved"


def restore(configure: Configure, folder: Path, key: str = KEY) -> tuple[bool, TrainingState]:
    model, state = build(configure(*SMALL))
    return Checkpoints(folder, key).restore(model, state, CPU), state


def newest(folder: Path, kind: str) -> Path:
    return sorted(folder.glob(f"*.{kind}"))[-1]


def test_one_is_kept_plus_the_one_before(saved: Path) -> None:
    assert len(list(saved.iterdir())) == 4
    assert not list(saved.glob("*.tmp"))


def test_nothing_is_pickled(saved: Path) -> None:
    assert {path.suffix for path in saved.iterdir()} == {".json", ".safetensors"}


@pytest.mark.parametrize("kind", ["json", "safetensors"])
def test_cut_at_any_byte_the_one_before_is_used(
    configure: Configure, saved: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = newest(saved, kind)
    whole = path.read_bytes()
    cuts = [*range(0, len(whole), max(len(whole) // 40, 1)), len(whole) - 1]
    for cut in cuts:
        path.write_bytes(whole[:cut])
        caplog.clear()
        done, state = restore(configure, saved)
        assert (done, state.step) == (True, 4)
        (line,) = [record.getMessage() for record in caplog.records]
        assert "the one before is used" in line
        assert "\n" not in line
    path.write_bytes(whole)
    assert restore(configure, saved)[1].step == 5


@pytest.mark.parametrize("kind", ["json", "safetensors"])
def test_a_flipped_bit_is_seen(configure: Configure, saved: Path, kind: str) -> None:
    path = newest(saved, kind)
    bytes_ = bytearray(path.read_bytes())
    bytes_[len(bytes_) // 2] ^= 1
    path.write_bytes(bytes_)
    assert restore(configure, saved)[1].step == 4


def test_a_missing_file_of_tensors_is_seen(configure: Configure, saved: Path) -> None:
    newest(saved, "safetensors").unlink()
    assert restore(configure, saved)[1].step == 4


def test_another_run_and_another_version_are_known(
    configure: Configure, saved: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert restore(configure, saved, key="b" * 64)[0] is False
    assert "is of another run" in caplog.text
    monkeypatch.setattr(checkpoint, "FORMAT", 2)
    assert restore(configure, saved)[0] is False
    assert "is of another version (format 1, here 2)" in caplog.text


def test_a_torn_newest_one_is_not_what_is_kept_beside_the_next(configure: Configure, saved: Path) -> None:
    newest(saved, "safetensors").write_bytes(b"torn")
    model, state = build(configure(*SMALL))
    checkpoints = Checkpoints(saved, KEY)
    assert checkpoints.restore(model, state, CPU)
    checkpoints.save(model, state, CPU)
    newest(saved, "safetensors").write_bytes(b"torn as well")
    assert restore(configure, saved)[0] is True


def test_other_threads_are_said(configure: Configure, saved: Path, caplog: pytest.LogCaptureFixture) -> None:
    model, state = build(configure(*SMALL))
    assert Checkpoints(saved, KEY).restore(model, state, replace(CPU, threads=2))
    assert "begun with threads 1, now 2: the last bits of the result may differ" in caplog.text  # and nothing else


def full_disk(*args: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("spoil", [(os, "fsync"), (Path, "replace"), (checkpoint, "save_file")])
def test_a_full_disk_is_one_line_and_the_old_checkpoint_is_whole(
    configure: Configure, saved: Path, monkeypatch: pytest.MonkeyPatch, spoil: tuple[object, str]
) -> None:
    model, state = build(configure(*SMALL))
    checkpoints = Checkpoints(saved, KEY)
    checkpoints.restore(model, state, CPU)
    with monkeypatch.context() as patch:
        patch.setattr(*spoil, full_disk)
        with pytest.raises(TlftError, match="No space left on device; no checkpoint was written"):
            checkpoints.save(model, state, CPU)
    assert not list(saved.glob("*.tmp"))
    assert restore(configure, saved)[1].step == 5


def test_no_folder_is_no_checkpoint(configure: Configure, tmp_path: Path) -> None:
    assert restore(configure, tmp_path / "nowhere")[0] is False


def test_tied_and_strided_tensors_are_saved(tmp_path: Path) -> None:
    tied = torch.arange(24.0).reshape(2, 3, 2, 2).to(memory_format=torch.channels_last)
    save_tensors({"one": tied, "other": tied}, tmp_path / "x.safetensors")
    assert all(torch.equal(tensor, tied) for tensor in load_file(tmp_path / "x.safetensors").values())


def test_the_json_says_what_it_is(saved: Path) -> None:
    payload = json.loads(newest(saved, "json").read_text())["payload"]
    assert payload["key"] == KEY
    assert payload["state"]["step"] == 5


def test_what_the_hold_out_has_said_and_an_average_are_kept(configure: Configure, tmp_path: Path) -> None:
    config = configure(*SMALL, "training.ema=0.9", "training.patience=2")
    model, state = build(config)
    state.judge(0.5, model)
    state.judge(0.75, model)
    assert state.average is not None
    state.average["fc.weight"] += 1
    Checkpoints(tmp_path / "checkpoints", KEY).save(model, state, CPU)
    other, again = build(config, seed=5)
    assert Checkpoints(tmp_path / "checkpoints", KEY).restore(other, again, CPU)
    assert (again.best_holdout, again.stale) == (0.5, 1)
    assert again.average is not None
    assert again.best_weights is not None
    assert all(torch.equal(tensor, state.average[name]) for name, tensor in again.average.items())


def test_a_checkpoint_of_before_there_were_either_is_read(configure: Configure, tmp_path: Path) -> None:
    config = configure(*SMALL)
    model, state = build(config)
    Checkpoints(tmp_path / "checkpoints", KEY).save(model, state, CPU)
    (path,) = (tmp_path / "checkpoints").glob("*.json")
    payload = json.loads(path.read_text())["payload"]
    for name in ("groups", "best_holdout", "stale"):
        del payload[name]
    path.write_text(json.dumps({"payload": payload, "sha256": checkpoint._digest(payload)}))
    other, again = build(config, seed=5)
    assert Checkpoints(tmp_path / "checkpoints", KEY).restore(other, again, CPU)
    assert same(model, other)
