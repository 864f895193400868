from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import Configure
from tiny_network import CPU, Recorder, TinyClassifier, make_split
from torch import nn

from tlft.config.recipe_schema import ScheduleConfig
from tlft.config.schema import Config
from tlft.data.batch_borders import batch_borders
from tlft.data.batches import Split
from tlft.errors import NonFiniteLossError
from tlft.models.freeze import freeze
from tlft.training.loop import TrainingState, fresh_state, train
from tlft.training.optimizer import learning_rate


def fit(config: Config, images: Split | None = None, trainable: str = "all") -> tuple[nn.Module, Recorder]:
    torch.manual_seed(0)
    model, report = TinyClassifier(), Recorder()
    freeze(model, trainable)
    train(model, images or make_split(), config, CPU, fresh_state(config, model), report)
    return model, report


def same(first: nn.Module, second: nn.Module) -> bool:
    states = (first.state_dict().values(), second.state_dict().values())
    return all(torch.equal(a, b) for a, b in zip(*states, strict=True))


SMALL = ("training.epochs=3", "training.batch_size=4")


def test_two_runs_end_with_the_same_bytes(configure: Configure) -> None:
    first_model, first = fit(configure(*SMALL))
    np.random.seed(5)
    torch.rand(3)
    second_model, second = fit(configure(*SMALL))
    assert same(first_model, second_model)
    assert first.steps == second.steps


def test_golden_losses(configure: Configure) -> None:
    _, report = fit(configure(*SMALL, "optimizer.lr=0.1"))
    losses = [metrics["train/loss"] for metrics in report.epochs]
    assert losses == pytest.approx(GOLDEN_LOSSES, rel=1e-4)


GOLDEN_LOSSES = [0.6437549, 0.4665029, 0.4815911]


def test_seed_changes_order_and_flips(configure: Configure) -> None:
    _, first = fit(configure(*SMALL))
    _, second = fit(configure(*SMALL, "seed=1"))
    assert first.steps != second.steps


def test_last_small_batch_is_kept(configure: Configure) -> None:
    _, report = fit(configure(*SMALL))
    assert [images for _, images, _ in report.steps[:3]] == [4, 4, 2]
    assert len(report.steps) == 9


def test_a_lone_image_joins_the_batch_before(configure: Configure) -> None:
    _, report = fit(configure(*SMALL), make_split(9))
    assert [images for _, images, _ in report.steps] == [4, 5] * 3


@pytest.mark.parametrize(
    ("count", "size", "borders"),
    [
        (10, 4, [0, 4, 8, 10]),
        (9, 4, [0, 4, 9]),
        (8, 4, [0, 4, 8]),
        (5, 4, [0, 5]),
        (4, 4, [0, 4]),
        (3, 4, [0, 3]),
        (1, 4, [0, 1]),
        (3, 1, [0, 1, 2, 3]),
        (3, 2, [0, 3]),
    ],
)
def test_every_image_is_in_one_batch(count: int, size: int, borders: list[int]) -> None:
    assert batch_borders(count, size) == borders


def test_no_batch_has_an_image_alone_but_of_one_image_or_of_batches_of_one() -> None:
    for count in range(2, 60):
        for size in range(2, 20):
            borders = batch_borders(count, size)
            assert min(np.diff(borders)) >= 2, (count, size)


def test_epoch_loss_weighs_every_image_the_same(configure: Configure) -> None:
    _, report = fit(configure(*SMALL))
    first = report.steps[:3]
    assert report.epochs[0]["train/loss"] == pytest.approx(sum(n * loss for _, n, loss in first) / 10)


def test_nan_loss_stops_with_epoch_step_and_lr(configure: Configure) -> None:
    with pytest.raises(NonFiniteLossError, match=r"the loss became nan in epoch \d+, step \d+ at lr 1e\+30"):
        fit(configure("training.epochs=50", "training.batch_size=4", "optimizer.lr=1e30"))


def test_nothing_trainable_falls_through(configure: Configure) -> None:
    config = configure("training.trainable=none")
    model, report = fit(config, trainable="none")
    assert report.steps == []
    assert fresh_state(config, model).optimizer is None


def test_lowest_train_loss_keeps_the_best_step_of_the_last_fifth(configure: Configure) -> None:
    config = configure("training.epochs=6", "training.batch_size=4", "training.keep=lowest_train_loss")
    model, report = fit(config)
    looked_at = [loss for epoch, _, loss in report.steps if epoch > 4]  # a fifth of 6, rounded up, is 2
    position = [loss for _, _, loss in report.steps].index(min(looked_at))

    stopped, _ = TinyClassifier(), None
    torch.manual_seed(0)
    stopped = TinyClassifier()
    state = fresh_state(config, stopped)

    class StopAfter(Recorder):
        def step(self, images: int, loss: float, model: nn.Module, state: TrainingState) -> None:
            super().step(images, loss, model, state)
            if len(self.steps) == position + 1:
                raise StopIteration

    with pytest.raises(StopIteration):
        train(
            stopped,
            make_split(),
            replace(config, training=replace(config.training, keep="last")),
            CPU,
            state,
            StopAfter(),
        )
    assert same(model, stopped)


def test_frozen_backbone_does_not_move(configure: Configure) -> None:
    torch.manual_seed(0)
    before = TinyClassifier()
    after, _ = fit(configure(*SMALL), trainable="head")
    moved = {k for k, v in before.state_dict().items() if not torch.equal(v, after.state_dict()[k])}
    assert moved == {"fc.weight", "fc.bias"}


def test_cosine_falls_to_zero_after_a_linear_warm_up() -> None:
    schedule = ScheduleConfig("cosine", warmup_epochs=1)
    rates = [learning_rate(schedule, 0.1, step, 4, 12) for step in range(13)]
    assert rates[:4] == pytest.approx([0.025, 0.05, 0.075, 0.1])
    assert rates[4] == pytest.approx(0.1)
    assert rates[8] == pytest.approx(0.05)
    assert rates[12] == pytest.approx(0.0)


def test_constant_stays() -> None:
    assert {learning_rate(ScheduleConfig(), 0.1, step, 4, 12) for step in range(12)} == {0.1}


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_every_optimizer_lowers_the_loss(configure: Configure, optimizer: str) -> None:
    config = configure(f"optimizer={optimizer}", "optimizer.lr=0.02", "training.epochs=40", "training.batch_size=10")
    _, report = fit(config)
    assert report.epochs[-1]["train/loss"] < 0.8 * report.epochs[0]["train/loss"]
    assert all(math.isfinite(loss) for _, _, loss in report.steps)


class Judge(Recorder):
    """Says of each epoch what its loss on the hold-out is, and remembers the weights after it."""

    def __init__(self, losses: list[float]) -> None:
        super().__init__()
        self.losses, self.weights = losses, list[dict[str, torch.Tensor]]()

    def epoch(self, metrics: dict[str, float], model: nn.Module, state: TrainingState) -> None:
        super().epoch(metrics, model, state)
        self.weights.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        state.judge(self.losses[state.epoch - 1], model)


@pytest.mark.parametrize(
    ("losses", "epochs", "best"),
    [([5.0, 3.0, 4.0, 3.5, 1.0, 0.0], 4, 1), ([5.0, 4.0, 3.0, 2.0, 2.0, 1.0], 6, 5), ([1.0, 1.0, 1.0], 3, 0)],
)
def test_it_ends_when_the_hold_out_gains_no_more_and_keeps_its_best_epoch(
    configure: Configure, losses: list[float], epochs: int, best: int
) -> None:
    config = configure("training.epochs=6", "training.batch_size=4", "training.patience=2", "optimizer.lr=0.1")
    torch.manual_seed(0)
    model, report = TinyClassifier(), Judge(losses)
    train(model, make_split(), config, CPU, fresh_state(config, model), report)
    assert len(report.epochs) == epochs
    assert all(torch.equal(tensor, report.weights[best][name]) for name, tensor in model.state_dict().items())


def test_a_step_of_several_batches_is_reported_once_and_the_rest_of_an_epoch_is_one(configure: Configure) -> None:
    _, report = fit(configure("training.epochs=2", "training.batch_size=4", "training.accumulate=2"))
    assert [(epoch, images) for epoch, images, _ in report.steps] == [(1, 8), (1, 2), (2, 8), (2, 2)]
