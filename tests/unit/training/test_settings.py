"""Every setting of a recipe: to a plain reference it is equal, after a kill it goes on to the same bits, and it is in
the run key exactly where it matters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from conftest import Configure
from test_checkpoint import KilledError, run, same
from tiny_network import CPU, TRANSFORM, Recorder, TinyClassifier, make_split
from torch import Tensor, nn
from torch.nn import functional as F

from tlft.config.schema import Config
from tlft.data.batches import Split
from tlft.runs.run_key import run_key, scientific_config
from tlft.training import loop
from tlft.training.step import Stepper

SMALL = ("training.epochs=2", "training.batch_size=4", "optimizer.lr=0.1")
PLAIN = ("optimizer.momentum=0.0",)

Batches = Iterable[tuple[Tensor, Tensor]]
Take = Callable[[nn.Module, Batches, float], tuple[float, int]]
Loss = Callable[[Tensor, Tensor], Tensor]
Change = Callable[[nn.Module], None]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels)


def smooth(logits: Tensor, labels: Tensor) -> Tensor:
    """Szegedy et al. 2016, section 7: 0.2 of the target is spread evenly."""
    targets = 0.8 * F.one_hot(labels, 2) + 0.2 / 2
    return -(targets * logits.log_softmax(1)).sum(1).mean()


def weigh(logits: Tensor, labels: Tensor) -> Tensor:
    """As in the split of `unequal`: seven images of the first class, three of the other."""
    weights = torch.tensor([10 / (2 * 7), 10 / (2 * 3)])[labels]
    return (weights * F.cross_entropy(logits, labels, reduction="none")).sum() / weights.sum()


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


def scale_backbone(*shares: float) -> Change:
    """Return what a rate of its own does to the gradients of both stages of the backbone: convolution, and its norm."""

    def change(model: nn.Module) -> None:
        for name, parameter in model.named_parameters():
            if not name.startswith("fc."):
                assert parameter.grad is not None
                parameter.grad *= shares[0]

    return change


def leave(model: nn.Module) -> None:
    """Change nothing."""


def by_gradient(loss: Loss = cross_entropy, change: Change = leave) -> Take:
    """Return a step of plain gradient descent, on the first batch alone."""

    def take(model: nn.Module, batches: Batches, lr: float) -> tuple[float, int]:
        ((images, labels),) = batches
        value, hits = descend(model, images, labels, loss)
        change(model)
        follow(model, lr)
        return value, hits

    return take


def descend(model: nn.Module, images: Tensor, labels: Tensor, loss: Loss = cross_entropy) -> tuple[float, int]:
    logits = model(images)
    value = loss(logits, labels)
    model.zero_grad()
    value.backward()  # type: ignore[no-untyped-call]
    classes = labels if labels.ndim == 1 else labels.argmax(1)  # of what was mixed
    return value.item(), int((logits.argmax(1) == classes).sum())


def follow(model: nn.Module, lr: float) -> None:
    with torch.no_grad():
        for parameter in (parameter for parameter in model.parameters() if parameter.requires_grad):
            assert parameter.grad is not None
            parameter.sub_(lr * parameter.grad)


def add_up(model: nn.Module, batches: Batches, lr: float) -> tuple[float, int]:
    """Follow the mean of all images' gradients, whatever batch they were in."""
    sums: list[Tensor] | None = None
    total, hits, count = 0.0, 0, 0
    for images, labels in batches:
        value, right = descend(model, images, labels)
        gradients = [parameter.grad * len(labels) for parameter in model.parameters() if parameter.grad is not None]
        sums = gradients if sums is None else [a + b for a, b in zip(sums, gradients, strict=True)]
        total, hits, count = total + value * len(labels), hits + right, count + len(labels)
    assert sums is not None
    for parameter, gradient in zip(model.parameters(), sums, strict=True):
        parameter.grad = gradient / count
    follow(model, lr)
    return total / count, hits


def climb_first(model: nn.Module, batches: Batches, lr: float) -> tuple[float, int]:
    """Foret et al. 2021, algorithm 1, with a radius of 0.2."""
    ((images, labels),) = batches
    outcome = descend(model, images, labels)
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    length = torch.stack([(gradient**2).sum() for gradient in gradients]).sum().sqrt()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            parameter.add_(0.2 * gradient / length)
    descend(model, images, labels)
    model.load_state_dict(state)  # with the statistics of the first pass
    follow(model, lr)
    return outcome


@dataclass
class Averaging:
    """Average what the first step and all later ones have left, and put it into the model in the end."""

    average: dict[str, Tensor] = field(default_factory=dict)
    steps: int = 0

    def take(self, model: nn.Module, batches: Batches, lr: float) -> tuple[float, int]:
        if not self.steps:
            self.average = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        outcome = by_gradient()(model, batches, lr)
        self.steps += 1
        decay = min(0.9, (1 + self.steps) / (10 + self.steps))
        for name, tensor in model.state_dict().items():
            old = self.average[name]
            is_float = tensor.is_floating_point()
            self.average[name] = decay * old + (1 - decay) * tensor if is_float else tensor.clone()
        return outcome

    def end(self, model: nn.Module) -> None:
        model.load_state_dict(self.average)


@dataclass(frozen=True)
class Setting:
    """What is typed, and what a step does then.

    Attributes:
        neutral: overrides with which it comes to nothing.
        rates: of the steps, where they are not all 0.1.
        averages: whether the weights in the end are not those of the last step.
    """

    overrides: tuple[str, ...]
    take: Take = field(default_factory=by_gradient)
    neutral: tuple[str, ...] = ()
    rates: Callable[[int], float] = lambda step: 0.1
    averages: bool = False

    @property
    def has_optimizer(self) -> bool:
        """Whether it brings an optimizer of its own."""
        return any(text.startswith("optimizer=") for text in self.overrides)


def add_decayed(model: nn.Module, batches: Batches, lr: float) -> tuple[float, int]:
    """RMSprop with a decay of 0.5, in its first step and all others, as its documentation has it."""
    ((images, labels),) = batches
    outcome = descend(model, images, labels)
    for parameter in model.parameters():
        assert parameter.grad is not None
        square = getattr(parameter, "mean_square", torch.zeros_like(parameter)) * 0.5 + 0.5 * parameter.grad**2
        parameter.mean_square = square  # type: ignore[attr-defined]
        parameter.grad /= square.sqrt() + 0.1
    follow(model, lr)
    return outcome


AUGMENTATIONS = ("none", "random_resized_crop", "trivial", "rand", "mixup", "cutmix")
RMSPROP = ("optimizer=torch", "optimizer.algorithm=RMSprop", "optimizer.options={alpha:0.5,eps:0.1}")

SETTINGS = (
    Setting(("training.label_smoothing=0.2",), by_gradient(smooth), ("training.label_smoothing=0.0",)),
    Setting(("training.clip_norm=0.05",), by_gradient(change=cut), ("training.clip_norm=null",)),
    Setting(
        ("training.decay_norms=false", "optimizer.weight_decay=0.5"),
        by_gradient(change=shrink_matrices),
        ("training.decay_norms=false", "optimizer.weight_decay=0.0"),
    ),
    Setting(("training.accumulate=2",), add_up, ("training.accumulate=1",)),
    Setting(("training.backbone_lr=0.1",), by_gradient(change=scale_backbone(0.1)), ("training.backbone_lr=1",)),
    Setting(("training.layer_decay=0.5",), by_gradient(change=scale_backbone(0.5)), ("training.layer_decay=1",)),
    Setting(("training.head_epochs=1",), neutral=("training.head_epochs=0",)),
    Setting(("training.unfreeze_epochs=1", "training.head_epochs=1"), neutral=("training.unfreeze_epochs=null",)),
    Setting(("training.class_weights=balanced",), by_gradient(weigh), ("training.class_weights=none",)),
    Setting(("training.sam=0.2",), climb_first, ("training.sam=null",)),
    Setting(("training.ema=0.9",), neutral=("training.ema=null",), averages=True),
    *(Setting((f"augment={name}",), neutral=("augment=reference",)) for name in AUGMENTATIONS),
    Setting(("data.sampler=balanced",), neutral=("data.sampler=uniform",)),
    Setting(("schedule=step", "schedule.step_epochs=1"), rates=lambda step: 0.1 * 0.1 ** (step // 3)),
    Setting(RMSPROP, add_decayed),
)
OF_NETWORKS = (
    Setting(("training.dropout=0.2",), neutral=("training.dropout=null",)),
    Setting(("training.stochastic_depth=0.2",), neutral=("training.stochastic_depth=null",)),
    Setting(("training.image_size=16",), neutral=(f"training.image_size={TRANSFORM.crop}",)),
)
"""Whose effect is in how a network is built, or its images are cut (see test_network.py and test_batches.py)."""

each_setting = pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.overrides[-1])


def unequal() -> Split:
    """Return a split in which one class has seven images and the other three."""
    split = make_split()
    files = tuple(replace(file, label=int(index >= 7)) for index, file in enumerate(split.files))
    return replace(split, files=files)


def key_of(config: Config) -> str:
    return run_key(scientific_config(config, {"train": "1" * 64, "eval": "2" * 64}, TRANSFORM, "0676ba61", None))


def fit(config: Config) -> tuple[nn.Module, Recorder]:
    torch.manual_seed(0)
    model, report = TinyClassifier(), Recorder()
    loop.train(model, unequal(), config, CPU, loop.fresh_state(config, model), report)
    return model, report


@each_setting
def test_it_equals_a_plain_reference(configure: Configure, setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    config = configure(*setting.overrides, *SMALL, *(() if setting.has_optimizer else PLAIN))
    model, report = fit(config)
    averaging, rates = Averaging(), list[float]()

    def step(stepper: Stepper, batches: Batches, images: int, lr: float) -> tuple[float, int]:
        rates.append(lr)
        take = averaging.take if setting.averages else setting.take
        return take(stepper.model, batches, lr)

    monkeypatch.setattr(Stepper, "step", step)
    expected, of_reference = fit(config)
    monkeypatch.undo()
    if setting.averages:
        averaging.end(expected)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, expected.state_dict()[name], rtol=1e-5, atol=1e-6)
    assert rates == pytest.approx([setting.rates(number) for number in range(len(rates))])
    losses = [loss for *_, loss in report.steps]
    assert losses == pytest.approx([loss for *_, loss in of_reference.steps], rel=1e-5)
    without, _ = fit(configure(*SMALL, *PLAIN, *(text for text in setting.overrides[1:] if "weight_decay" in text)))
    assert not same(model, without)  # or the reference would show nothing


@each_setting
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("killed_after", [1, 3])
def test_killed_it_goes_on_to_the_same_bits(
    configure: Configure, tmp_path: Path, setting: Setting, optimizer: str, killed_after: int
) -> None:
    config = configure(*([] if setting.has_optimizer else [f"optimizer={optimizer}"]), *setting.overrides, *SMALL)
    undisturbed, whole = run(config, tmp_path / "undisturbed")
    with pytest.raises(KilledError):
        run(config, tmp_path / "killed", killed_after)
    resumed, rest = run(config, tmp_path / "killed")
    assert same(undisturbed, resumed)
    assert rest.epochs[-1]["train/loss"] == whole.epochs[-1]["train/loss"]


@pytest.mark.parametrize("setting", (*SETTINGS, *OF_NETWORKS), ids=lambda setting: setting.overrides[-1])
def test_it_is_in_the_run_key_exactly_where_it_matters(configure: Configure, setting: Setting) -> None:
    others = [text for text in setting.neutral if text not in setting.overrides and text.startswith("optimizer.")]
    assert key_of(configure(*setting.neutral)) == key_of(configure(*others))
    changed = [text for text in setting.overrides[1:] if "weight_decay" in text]
    assert key_of(configure(*setting.overrides, "optimizer.lr=0.01")) != key_of(configure(*changed))
    untrained = "experiment=zero_shot"
    assert key_of(configure(untrained, *setting.overrides, "optimizer.lr=0.01")) == key_of(configure(untrained))
