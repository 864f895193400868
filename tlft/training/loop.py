"""Train a network on a split of images.

Knows nothing of MLflow, Hydra, files or evaluation: what happened is told to a report.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from tlft.config.schema import Config
from tlft.data.batches import Split
from tlft.errors import NonFiniteLossError
from tlft.models.freeze import changing_state, copy_state, freeze, put_state, set_training_mode, stages
from tlft.names import Metric
from tlft.runtime.device import Machine
from tlft.training.averaging import update_average
from tlft.training.drawing import EpochImages, steps_of
from tlft.training.optimizer import build_optimizer, learning_rate
from tlft.training.step import Stepper, balanced_weights
from tlft.training.unfreezing import trained_in


class Report(Protocol):
    """What training tells while it goes on; what a report raises stops the training where it stands."""

    def step(self, images: int, loss: float, model: nn.Module, state: TrainingState) -> None:
        """Hear that a step was taken on so many images; model and state are whole and may be saved."""

    def epoch(self, metrics: dict[str, float], model: nn.Module, state: TrainingState) -> None:
        """Hear the metrics of an epoch that has ended; the model may be evaluated, its mode is set again."""


@dataclass
class TrainingState:
    """Everything that changes while training goes on, but for the model itself.

    There is no random state among it: order, flips and dropout are drawn anew from the seed and the epoch or step.

    Attributes:
        epoch: epochs that are complete.
        step: steps that were taken in all.
        seen: images of the epoch under way that were trained on.
        loss_sum: of those images.
        correct: those that were predicted right.
        seconds: what those images took.
        train_seconds: what all steps took.
        best_loss: lowest batch loss seen where `training.keep` looks, else infinite.
        best_weights: what training changes of the model, after that step, or after the best epoch by the hold-out.
        best_holdout: lowest loss on the hold-out after an epoch, where `training.patience` looks there.
        stale: epochs since then, of those in which all is trained that is to be trained at last.
        waits: whether a part of that is still frozen.
        average: the same, averaged over all steps, where `training.ema` asks for that.
        changing: names of what training changes of the model, in one epoch or another.
    """

    optimizer: torch.optim.Optimizer | None
    epoch: int = 0
    step: int = 0
    seen: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    seconds: float = 0.0
    train_seconds: float = 0.0
    best_loss: float = math.inf
    best_weights: dict[str, Tensor] | None = None
    average: dict[str, Tensor] | None = None
    best_holdout: float = math.inf
    stale: int = 0
    waits: bool = False
    changing: frozenset[str] = frozenset()

    def judge(self, holdout_loss: float, model: nn.Module) -> None:
        """Hear the loss on the hold-out after an epoch, of the weights that the model has; the best are kept."""
        if holdout_loss < self.best_holdout:
            self.best_holdout, self.stale = holdout_loss, 0
            self.best_weights = copy_state(model, self.changing)
        elif not self.waits:
            self.stale += 1


def fresh_state(config: Config, model: nn.Module) -> TrainingState:
    """Return the state before the first step; without an optimizer where nothing is trained."""
    optimizer = build_optimizer(config, model) if config.training.epochs else None
    changing = frozenset(changing_state(model))
    averages = optimizer is not None and config.training.ema is not None
    return TrainingState(optimizer, average=copy_state(model, changing) if averages else None, changing=changing)


def train(
    model: nn.Module, images: Split, config: Config, machine: Machine, state: TrainingState, report: Report
) -> None:
    """Train from where `state` stands to the last epoch; with nothing to train, return at once.

    Cross-entropy over the labels, which `training.label_smoothing` softens; batches are drawn without replacement, the
    last one may be smaller, or larger by one (see drawing.py). On a CPU the result depends on the seed and the
    number of threads only. A report that judges epochs by a hold-out may end it early (`training.patience`). In the end
    the model holds the weights that are to be evaluated: `training.keep`, or their average (`training.ema`).

    Raises:
        NonFiniteLossError: at the first batch whose loss is no number.
    """
    if state.optimizer is None:
        return
    stepper = _stepper(model, images, config, machine, state.optimizer)
    first, trained = state.epoch, config.training.trainable  # as the model comes
    depth = len(stages(model)) if config.training.unfreeze_epochs is not None else 0
    patience = config.training.patience or math.inf
    while state.epoch < config.training.epochs and state.stale < patience:
        before, trained = trained, trained_in(state.epoch, config.training, depth)
        state.waits = trained != config.training.trainable
        if trained != before:
            freeze(model, trained)
        if trained != before or state.epoch == first or not model.training:  # an evaluation leaves its own mode
            set_training_mode(model)
        _train_epoch(stepper, images, config, state, report)
        metrics = {
            Metric.TRAIN_LOSS: state.loss_sum / len(images),
            Metric.TRAIN_ACCURACY: state.correct / len(images),
            Metric.TRAIN_LR: _learning_rate(config, state.step - 1, len(images)),
            Metric.TRAIN_IMAGES_PER_SECOND: len(images) / state.seconds,
        }
        state.epoch += 1
        state.seen, state.loss_sum, state.correct, state.seconds = 0, 0.0, 0, 0.0
        report.epoch(metrics, model, state)
    if (kept := state.best_weights or state.average) is not None:
        put_state(model, kept)


def _stepper(
    model: nn.Module, images: Split, config: Config, machine: Machine, optimizer: torch.optim.Optimizer
) -> Stepper:
    weights = None
    if config.training.class_weights == "balanced":
        weights = torch.from_numpy(balanced_weights(images.labels)).to(machine.device)
    return Stepper(model, optimizer, config.training, machine, weights)


def _train_epoch(stepper: Stepper, images: Split, config: Config, state: TrainingState, report: Report) -> None:
    """Take the steps that are left of an epoch."""
    model, training = stepper.model, config.training
    drawn = EpochImages(images, config, state.epoch, stepper.machine.device)
    in_last_fifth = state.epoch >= training.epochs - math.ceil(training.epochs / 5)
    may_keep = training.keep == "lowest_train_loss" and in_last_fifth
    for borders in steps_of(len(images), config):
        (start, _), (_, end) = borders[0], borders[-1]
        if start < state.seen:
            continue
        started = time.perf_counter()
        lr = _learning_rate(config, state.step, len(images))
        loss, hits = stepper.step(drawn.batches(borders, state.step), end - start, lr)
        if not math.isfinite(loss):
            raise NonFiniteLossError(
                f"the loss became {loss} in epoch {state.epoch + 1}, step {state.step + 1} at lr {lr:g}; "
                "lower optimizer.lr"
            )
        state.step += 1
        state.seen += end - start
        state.loss_sum += loss * (end - start)
        state.correct += hits
        if may_keep and loss < state.best_loss:
            state.best_loss = loss
            state.best_weights = copy_state(model, state.changing)
        if state.average is not None:
            update_average(state.average, model, training.ema or 0.0, state.step)
        seconds = time.perf_counter() - started
        state.seconds += seconds
        state.train_seconds += seconds
        report.step(end - start, loss, model, state)


def _learning_rate(config: Config, step: int, images: int) -> float:
    per_epoch = len(steps_of(images, config))
    return learning_rate(config.schedule, config.optimizer.lr, step, per_epoch, config.training.epochs * per_epoch)
