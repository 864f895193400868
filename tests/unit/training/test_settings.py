"""One table of what recipes can set: each equals the library or a plain reference, goes on after a kill to the same
bits, and is in the run key exactly where it matters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path

import pytest
import timm
import timm.optim
import torch
from by_hand import (
    Best,
    ByHand,
    RunningAverage,
    all_classes_alike,
    crop,
    cut,
    rates_of,
    scale_stages,
    shrink_matrices,
    smooth,
    weigh,
    weigh_smooth,
)
from conftest import draw_folder
from test_checkpoint import KEY, KilledError, Saving, same
from tiny_network import CPU, TRANSFORM, Recorder, TwoStages, make_split
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import lr_scheduler
from torchvision.transforms import v2

from tlft.config.compose import Composer
from tlft.config.recipe_schema import TrainingConfig
from tlft.config.resolve import resolve
from tlft.config.schema import Config
from tlft.config.typed import to_config
from tlft.config.validate import find_problems
from tlft.data.batches import Split, open_images
from tlft.data.dataset import open_dataset
from tlft.models.network import build_network, options_of
from tlft.runs.run_key import run_key, scientific_config
from tlft.training.checkpoint import Checkpoints
from tlft.training.loop import TrainingState, fresh_state, train

SMALL = ("training.epochs=3", "training.batch_size=4", "optimizer.lr=0.1")
HEAD = "training.trainable=head"


@dataclass(frozen=True)
class Setting:
    """A row: what is typed, and what it does.

    Attributes:
        by_hand: the same, written down plainly.
        neutral: what is typed with which it comes to nothing; nothing where each value is a recipe of its own.
        beside: what else is typed, without which it would come to nothing.
        without_training: whether it matters where nothing is trained.
        to_the_head: whether it matters where the head alone is trained; None: it is refused there.
        library: a network of timm that has what it sets; the tiny one has not.
        has_files: whether it is about how files become pixels.
    """

    overrides: tuple[str, ...]
    by_hand: ByHand
    neutral: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    without_training: bool = False
    to_the_head: bool | None = True
    library: str = ""
    has_files: bool = False

    @property
    def typed(self) -> tuple[str, ...]:
        """All that is typed; another optimizer than SGD without momentum is one that a row is about."""
        momentum = () if any(text.startswith("optimizer=") for text in self.overrides) else ("optimizer.momentum=0.0",)
        return (*SMALL, *momentum, *self.beside, *self.overrides)

    @property
    def without(self) -> tuple[str, ...]:
        """What is typed without it."""
        return (*SMALL, "optimizer.momentum=0.0", *self.beside)


def holdout_loss(model: nn.Module) -> float:
    """The mean loss on other images."""
    model.eval()
    split = make_split(6)
    images, labels = split.batch(torch.arange(6).numpy(), CPU.device)
    with torch.inference_mode():
        return F.cross_entropy(model(images), labels).item()


def named(algorithm: str, *options: str) -> tuple[str, ...]:
    return ("optimizer=torch", f"optimizer.algorithm={algorithm}", *options)


def last_parts(*numbers: int) -> Callable[[int], tuple[str, ...]]:
    """Return the parts that each epoch trains: the head and so many stages."""
    parts = {0: ("fc",), 1: ("conv2", "norm2", "fc"), 2: ("conv1", "norm1", "conv2", "norm2", "fc")}
    return lambda epoch: parts[numbers[epoch]]


def mixing(kind: type[v2.MixUp | v2.CutMix], alpha: float) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    mix: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = kind(alpha=alpha, num_classes=2)
    return mix


STEPS_OF_AN_EPOCH = 3
MIXUP = ByHand(view=crop(), mix=mixing(v2.MixUp, 0.2))
SGD, ADAM = torch.optim.SGD, torch.optim.Adam

SETTINGS = (
    Setting(("augment=none",), ByHand(flips=False), ("training.flip=true",)),
    Setting(("augment=random_resized_crop",), ByHand(view=crop()), ("augment=reference",)),
    Setting(("augment=trivial",), ByHand(view=crop(v2.TrivialAugmentWide())), ("augment=reference",)),
    Setting(("augment=rand",), ByHand(view=crop(v2.RandAugment(2, 9))), ("augment=reference",)),
    Setting(("augment=mixup",), MIXUP, ("augment=reference",)),
    Setting(("augment=cutmix",), replace(MIXUP, mix=mixing(v2.CutMix, 1.0)), ("augment=reference",)),
    Setting(("training.label_smoothing=0.2",), ByHand(loss=smooth), ("training.label_smoothing=0.0",)),
    Setting(
        ("training.label_smoothing=0.2", "augment=mixup"), replace(MIXUP, loss=smooth), ("training.label_smoothing=0",)
    ),
    Setting(
        ("training.decay_norms=false",),
        ByHand(change=shrink_matrices),
        ("training.decay_norms=false", "optimizer.weight_decay=0.0"),
        beside=("optimizer.weight_decay=0.5",),
    ),
    Setting(
        ("schedule.warmup_epochs=1",),
        ByHand(rate=rates_of(lambda optimizer: lr_scheduler.LinearLR(optimizer, 1 / 3, total_iters=2))),
        ("schedule.warmup_epochs=0",),
    ),
    Setting(
        ("schedule=step", "schedule.step_epochs=1", "schedule.gamma=0.3"),
        ByHand(rate=rates_of(lambda optimizer: lr_scheduler.StepLR(optimizer, STEPS_OF_AN_EPOCH, 0.3))),
        ("schedule=constant",),
    ),
    Setting(
        ("schedule=cosine",),
        ByHand(rate=rates_of(lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 3 * STEPS_OF_AN_EPOCH))),
        ("schedule=constant",),
    ),
    Setting(("training.clip_norm=0.05",), ByHand(change=cut), ("training.clip_norm=null",)),
    Setting(("training.accumulate=2",), ByHand(together=2), ("training.accumulate=1",)),
    Setting(
        ("training.ema=0.9",),
        ByHand(keeper=RunningAverage),
        ("training.ema=null",),
    ),
    Setting(
        ("training.keep=lowest_train_loss",),
        ByHand(keeper=Best),
        ("training.keep=last",),
    ),
    Setting(
        ("training.backbone_lr=0.1",),
        ByHand(change=scale_stages(0.1, 0.1)),
        ("training.backbone_lr=1",),
        to_the_head=False,
    ),
    Setting(
        ("training.layer_decay=0.5",),
        ByHand(change=scale_stages(0.25, 0.5)),
        ("training.layer_decay=1",),
        to_the_head=False,
    ),
    Setting(
        ("training.layer_decay=0.5", "training.backbone_lr=0.1"),
        ByHand(change=scale_stages(0.025, 0.05)),
        ("training.layer_decay=1", "training.backbone_lr=1"),
        to_the_head=False,
    ),
    Setting(
        ("training.head_epochs=2",),
        ByHand(trained=last_parts(0, 0, 2)),
        ("training.head_epochs=0",),
        to_the_head=None,
    ),
    Setting(
        ("training.unfreeze_epochs=2",),
        ByHand(trained=last_parts(1, 1, 2)),
        ("training.unfreeze_epochs=null",),
        to_the_head=None,
    ),
    Setting(
        ("training.head_epochs=1", "training.unfreeze_epochs=1"),
        ByHand(trained=last_parts(0, 1, 2)),
        ("training.head_epochs=0", "training.unfreeze_epochs=null"),
        to_the_head=None,
    ),
    Setting(("training.class_weights=balanced",), ByHand(loss=weigh), ("training.class_weights=none",)),
    Setting(
        ("training.class_weights=balanced", "training.accumulate=2"),
        ByHand(loss=weigh, together=2),
        ("training.class_weights=none", "training.accumulate=1"),
    ),
    Setting(
        ("training.class_weights=balanced", "training.accumulate=2", "training.label_smoothing=0.2"),
        ByHand(loss=weigh_smooth, together=2),
        ("training.class_weights=none", "training.accumulate=1", "training.label_smoothing=0"),
    ),
    Setting(
        ("training.class_weights=balanced", "training.accumulate=2", "augment=mixup"),
        replace(MIXUP, loss=weigh, together=2),
        ("training.class_weights=none", "training.accumulate=1", "augment=reference"),
    ),
    Setting(("data.sampler=balanced",), ByHand(order=all_classes_alike), ("data.sampler=uniform",)),
    Setting(("training.sam=0.2",), ByHand(radius=0.2), ("training.sam=null",)),
    Setting(
        ("training.patience=1",),
        ByHand(rate=lambda step: 1.0, keeper=lambda: Best(holdout_loss), epochs=6),
        ("training.patience=null",),
        beside=("optimizer.lr=1", "training.epochs=6"),
    ),
    Setting(
        ("training.patience=1", "training.head_epochs=3"),
        ByHand(
            rate=lambda step: 1.0,
            keeper=lambda: Best(holdout_loss, spared=3),
            epochs=6,
            trained=last_parts(0, 0, 0, 2, 2, 2),
        ),
        ("training.patience=null", "training.head_epochs=0"),
        beside=("optimizer.lr=1", "training.epochs=6"),
        to_the_head=None,
    ),
    Setting(
        ("training.dropout=0.4",),
        ByHand(network=lambda: timm.create_model("test_convnext", drop_rate=0.4), size=32),
        ("training.dropout=null",),
        beside=("data.image_size=32",),
        library="test_convnext",  # in which no norm looks at a batch, which is of two images here
        has_files=True,
    ),
    Setting(
        ("training.stochastic_depth=0.4",),
        ByHand(network=lambda: timm.create_model("test_convnext", drop_path_rate=0.4), size=32),
        ("training.stochastic_depth=null",),
        to_the_head=False,
        beside=("data.image_size=32",),
        library="test_convnext",  # in which no norm looks at a batch, which is of two images here
        has_files=True,
    ),
    Setting(
        ("data.image_size=12",),
        ByHand(size=12),
        (f"data.image_size={TRANSFORM.crop}",),
        without_training=True,
        has_files=True,
    ),
    Setting(("training.image_size=12",), ByHand(size=12), (f"training.image_size={TRANSFORM.crop}",), has_files=True),
    Setting(
        ("data.image_size=16", "training.image_size=12"),
        ByHand(size=12),
        (f"training.image_size={TRANSFORM.crop}",),
        without_training=True,
        has_files=True,
    ),
    Setting(
        ("optimizer.momentum=0.9",),
        ByHand(optimizer=lambda p: SGD(p, lr=0.1, momentum=0.9)),
        ("optimizer.momentum=0.5",),
    ),
    Setting(
        ("optimizer.momentum=0.5", "optimizer.nesterov=true"),
        ByHand(optimizer=lambda p: SGD(p, lr=0.1, momentum=0.5, nesterov=True)),
    ),
    Setting(
        ("optimizer=adam", "optimizer.beta1=0.8", "optimizer.beta2=0.9", "optimizer.eps=0.01"),
        ByHand(optimizer=lambda p: ADAM(p, lr=0.1, betas=(0.8, 0.9), eps=0.01)),
    ),
    Setting(
        ("optimizer=adamw", "optimizer.weight_decay=0.5"),
        ByHand(optimizer=lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.5)),
    ),
    Setting(
        named("RMSprop", "optimizer.options={alpha:0.5,eps:0.1}"),
        ByHand(optimizer=lambda p: torch.optim.RMSprop(p, lr=0.1, alpha=0.5, eps=0.1)),
    ),
    Setting(
        named("NAdam", "optimizer.weight_decay=0.1"),
        ByHand(optimizer=lambda p: torch.optim.NAdam(p, lr=0.1, weight_decay=0.1)),
    ),
    Setting(
        named("lamb", "optimizer.options={betas:[0.8,0.9]}"),
        ByHand(optimizer=lambda p: timm.optim.Lamb(p, lr=0.1, betas=(0.8, 0.9), weight_decay=0.0)),
    ),
)
"""An optimizer has no neutral: each is a recipe of its own."""

each_setting = pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: " ".join(setting.overrides))


@cache
def composer() -> Composer:
    return Composer()


@cache
def configure(*overrides: str) -> Config:
    """Compose each configuration once; none of the tests writes to its home."""
    return resolve(to_config(composer().compose(["paths.home=/nowhere", *overrides])))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_folder(tmp_path_factory.mktemp("settings") / "insects", train=5, evaluation=1, size=20)


def split_of(setting: Setting, config: Config, folder: Path) -> Split:
    """Return ten training images: as files that are decoded, or pixels of which seven are of the first class."""
    if setting.has_files:
        of_folder = replace(config.data, name="imagefolder", root=str(folder))
        cache, size = folder.parent / "cache", config.data.image_size or TRANSFORM.crop
        evaluated, trained = TRANSFORM.sized(size), TRANSFORM.sized(config.training.image_size or size)
        return open_images(open_dataset(of_folder, cache, 1), evaluated, cache, "error", 1, trained).train
    split = make_split()
    files = tuple(replace(file, label=int(index >= 7)) for index, file in enumerate(split.files))
    return replace(split, files=files)


def build(setting: Setting, config: Config) -> nn.Module:
    if setting.library:
        return build_network("timm", setting.library, options_of(config, TRANSFORM.crop))
    return TwoStages()


@dataclass
class Judging(Recorder):
    """Looks at a hold-out after each epoch, where a configuration asks for that."""

    recipe: TrainingConfig
    steps: list[tuple[int, int, float]] = field(default_factory=list)
    epochs: list[dict[str, float]] = field(default_factory=list)

    def epoch(self, metrics: dict[str, float], model: nn.Module, state: TrainingState) -> None:
        if self.recipe.patience is not None:
            state.judge(holdout_loss(model), model)
        super().epoch(metrics, model, state)


class Killed(Saving):
    """Does so too, saves where it is killed and after each epoch, and is killed."""

    def __init__(self, recipe: TrainingConfig, checkpoints: Checkpoints, killed_after: int | None) -> None:
        super().__init__(checkpoints, killed_after, killed_after or 1000)
        self.recipe = recipe

    def epoch(self, metrics: dict[str, float], model: nn.Module, state: TrainingState) -> None:
        if self.recipe.patience is not None:
            state.judge(holdout_loss(model), model)
        super().epoch(metrics, model, state)


def fit(setting: Setting, overrides: tuple[str, ...], folder: Path) -> tuple[nn.Module, list[float]]:
    config = configure(*overrides)
    torch.manual_seed(0)
    model, report = build(setting, config), Judging(config.training)
    train(model, split_of(setting, config, folder), config, CPU, fresh_state(config, model), report)
    return model, [loss for *_, loss in report.steps]


def go_on(
    setting: Setting, config: Config, folder: Path, home: Path, killed_after: int | None = None
) -> tuple[nn.Module, Recorder]:
    """Train, from the checkpoint if there is one, in what is a new process for all that matters."""
    torch.manual_seed(99 if home.exists() else 0)  # a resumed run owes nothing to how it was built
    model = build(setting, config).to(memory_format=torch.channels_last)
    state, checkpoints = fresh_state(config, model), Checkpoints(home, KEY)
    checkpoints.restore(model, state, CPU)
    report = Killed(config.training, checkpoints, killed_after)
    train(model, split_of(setting, config, folder), config, CPU, state, report)
    return model, report


def key_of(*overrides: str) -> str:
    config = configure(*overrides)
    assert find_problems(config) == []
    transform = TRANSFORM.sized(config.data.image_size or TRANSFORM.crop)
    return run_key(scientific_config(config, {"train": "1" * 64, "eval": "2" * 64}, transform, "0676ba61", None))


def close(first: nn.Module, second: nn.Module) -> bool:
    states = (first.state_dict().values(), second.state_dict().values())
    return all(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(*states, strict=True))


@each_setting
def test_it_equals_the_library_or_a_plain_reference(setting: Setting, folder: Path) -> None:
    model, losses = fit(setting, setting.typed, folder)
    expected, of_reference = setting.by_hand.train(split_of(setting, configure(*setting.typed), folder))
    assert losses == pytest.approx(of_reference, rel=1e-4)
    assert close(model, expected)
    without, _ = fit(setting, setting.without, folder)
    assert not close(model, without)  # or the reference would show nothing


def test_without_any_it_is_plain_gradient_descent(folder: Path) -> None:
    plain = Setting(("augment=reference",), ByHand())
    model, losses = fit(plain, plain.typed, folder)
    expected, of_reference = plain.by_hand.train(split_of(plain, configure(*plain.typed), folder))
    assert losses == pytest.approx(of_reference, rel=1e-4)
    assert close(model, expected)


@each_setting
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_killed_it_goes_on_to_the_same_bits(setting: Setting, optimizer: str, folder: Path, tmp_path: Path) -> None:
    others = [] if any(text.startswith("optimizer") for text in setting.overrides) else [f"optimizer={optimizer}"]
    config = configure(*SMALL, *setting.beside, *others, *setting.overrides)
    undisturbed, whole = go_on(setting, config, folder, tmp_path / "undisturbed")
    for killed_after in (1, 4):
        home = tmp_path / f"killed after {killed_after}"
        with pytest.raises(KilledError):
            go_on(setting, config, folder, home, killed_after)
        resumed, rest = go_on(setting, config, folder, home)
        assert same(undisturbed, resumed)
        assert rest.epochs[-1]["train/loss"] == whole.epochs[-1]["train/loss"]


@each_setting
def test_it_is_in_the_run_key_exactly_where_it_matters(setting: Setting) -> None:
    typed = (*SMALL, *setting.beside, *setting.overrides)
    assert key_of(*typed) != key_of(*SMALL, *setting.beside)
    if setting.neutral:
        values = [text for text in setting.beside if text.partition("=")[0] not in " ".join(setting.neutral)]
        assert key_of(*SMALL, *values, *setting.neutral) == key_of(*SMALL, *values)
    untrained = ("experiment=zero_shot", "head=task")
    assert (key_of(*typed, *untrained) != key_of(*setting.beside, *untrained)) == setting.without_training
    if setting.to_the_head is None:
        problems = find_problems(configure(*typed, HEAD))
        assert problems and all("the head alone is trained to the end" in problem for problem in problems)
    else:
        assert (key_of(*typed, HEAD) != key_of(*SMALL, *setting.beside, HEAD)) == setting.to_the_head


NO_SETTINGS = {"trainable", "epochs", "batch_size", "flip", "eval_every"}
"""Of `training`: what every run has a value of, and what is for looking only (see test_loop.py and test_run_key.py)."""


def test_every_setting_is_a_row() -> None:
    rows = {text for setting in SETTINGS for text in setting.overrides}
    keys = {text.partition("=")[0] for text in rows}
    assert {f"training.{each.name}" for each in fields(TrainingConfig)} - keys == {f"training.{n}" for n in NO_SETTINGS}
    assert {"data.sampler", "data.image_size", "schedule.warmup_epochs", "optimizer.weight_decay"} <= keys
    neutral = {"optimizer=sgd", "schedule=constant", "augment=reference"}
    for group in ("optimizer", "schedule", "augment"):
        options = {f"{group}={name}" for name in composer().options(group) if name != "modern"}  # a preset's values
        assert options - rows <= neutral
