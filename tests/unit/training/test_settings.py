"""Every setting of a recipe: to a plain reference it is equal, after a kill it goes on to the same bits, and it is in
the run key exactly where it matters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from conftest import Configure
from test_checkpoint import KilledError, run, same
from tiny_network import CPU, TRANSFORM, Recorder, TinyClassifier, make_split
from torch import Tensor, nn
from torch.nn import functional as F

from tlft.config.schema import Config
from tlft.runs.run_key import run_key, scientific_config
from tlft.training import loop

SMALL = ("training.epochs=2", "training.batch_size=4", "optimizer.lr=0.1")

Loss = Callable[[Tensor, Tensor], Tensor]
Change = Callable[[nn.Module], None]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels)


def smooth(logits: Tensor, labels: Tensor) -> Tensor:
    """Szegedy et al. 2016, section 7: 0.2 of the target is spread evenly."""
    targets = 0.8 * F.one_hot(labels, 2) + 0.2 / 2
    return -(targets * logits.log_softmax(1)).sum(1).mean()


def cut(model: nn.Module) -> None:
    """Pascanu et al. 2013, algorithm 1, at 0.05."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    length = torch.stack([(gradient**2).sum() for gradient in gradients]).sum().sqrt()
    for gradient in gradients:
        gradient.mul_(min(1.0, 0.05 / float(length)))


def shrink_matrices(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if name in ("conv.weight", "fc.weight"):
            assert parameter.grad is not None
            parameter.grad += 0.5 * parameter.detach()


def leave(model: nn.Module) -> None:
    """Change nothing."""


@dataclass(frozen=True)
class Setting:
    """What is typed; what it does to the loss, and to the gradients before a step of plain gradient descent.

    Attributes:
        neutral: overrides with which it comes to nothing.
    """

    overrides: tuple[str, ...]
    loss: Loss = cross_entropy
    change: Change = leave
    neutral: tuple[str, ...] = ()


SETTINGS = (
    Setting(("training.label_smoothing=0.2",), loss=smooth, neutral=("training.label_smoothing=0.0",)),
    Setting(("training.clip_norm=0.05",), change=cut, neutral=("training.clip_norm=null",)),
    Setting(
        ("training.decay_norms=false", "optimizer.weight_decay=0.5"),
        change=shrink_matrices,
        neutral=("training.decay_norms=false", "optimizer.weight_decay=0.0"),
    ),
)
each_setting = pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.overrides[0])


class Reference:
    """Take the steps that tlft asks for, by hand."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting

    def step(
        self, model: nn.Module, batch: tuple[Tensor, Tensor], optimizer: object, lr: float, *_: object
    ) -> tuple[float, int]:
        images, labels = batch
        logits = model(images)
        loss = self._setting.loss(logits, labels)
        model.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._setting.change(model)
        with torch.no_grad():
            for parameter in model.parameters():
                assert parameter.grad is not None
                parameter.sub_(lr * parameter.grad)
        return loss.item(), int((logits.argmax(1) == labels).sum())


def key_of(config: Config) -> str:
    return run_key(scientific_config(config, {"train": "1" * 64, "eval": "2" * 64}, TRANSFORM, "0676ba61", None))


def fit(config: Config) -> tuple[nn.Module, Recorder]:
    torch.manual_seed(0)
    model, report = TinyClassifier(), Recorder()
    loop.train(model, make_split(), config, CPU, loop.fresh_state(config, model), report)
    return model, report


@each_setting
def test_it_equals_a_plain_reference(configure: Configure, setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    config = configure(*SMALL, "optimizer.momentum=0.0", *setting.overrides)
    model, report = fit(config)
    monkeypatch.setattr(loop, "_step", Reference(setting).step)
    expected, of_reference = fit(config)
    monkeypatch.undo()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, expected.state_dict()[name], rtol=1e-5, atol=1e-6)
    losses = [loss for *_, loss in report.steps]
    assert losses == pytest.approx([loss for *_, loss in of_reference.steps], rel=1e-5)
    without, _ = fit(configure(*SMALL, "optimizer.momentum=0.0", *setting.overrides[1:]))
    assert not same(model, without)  # or the reference would show nothing


@each_setting
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("killed_after", [1, 4])
def test_killed_it_goes_on_to_the_same_bits(
    configure: Configure, tmp_path: Path, setting: Setting, optimizer: str, killed_after: int
) -> None:
    config = configure(f"optimizer={optimizer}", *SMALL, *setting.overrides)
    undisturbed, whole = run(config, tmp_path / "undisturbed")
    with pytest.raises(KilledError):
        run(config, tmp_path / "killed", killed_after)
    resumed, rest = run(config, tmp_path / "killed")
    assert same(undisturbed, resumed)
    assert rest.epochs[-1]["train/loss"] == whole.epochs[-1]["train/loss"]


@each_setting
def test_it_is_in_the_run_key_exactly_where_it_matters(configure: Configure, setting: Setting) -> None:
    others = [text for text in setting.neutral if text not in setting.overrides and text.startswith("optimizer.")]
    assert key_of(configure(*setting.neutral)) == key_of(configure(*others))
    assert key_of(configure(*setting.overrides)) != key_of(configure(*setting.overrides[1:]))
    untrained = "experiment=zero_shot"
    assert key_of(configure(untrained, *setting.overrides)) == key_of(configure(untrained))
