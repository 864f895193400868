"""Train a network on a split of images.

Knows nothing of MLflow, Hydra, files or evaluation: what happened is told to a report.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tlft.config.recipe_schema import TrainingConfig
from tlft.config.schema import Config
from tlft.data.batch_borders import batch_borders
from tlft.data.batches import Split
from tlft.errors import NonFiniteLossError
from tlft.models.freeze import changing_state, put_state, set_training_mode
from tlft.names import Metric
from tlft.runtime.device import Machine
from tlft.runtime.seeds import derive_seed, generator
from tlft.training.optimizer import build_optimizer, learning_rate
from tlft.training.step_profile import phase


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
        best_weights: what training changes of the model, after that step.
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


def fresh_state(config: Config, model: nn.Module) -> TrainingState:
    """Return the state before the first step; without an optimizer where nothing is trained."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained or not config.training.epochs:
        return TrainingState(None)
    return TrainingState(build_optimizer(config.optimizer, trained, decay_norms=config.training.decay_norms))


def train(
    model: nn.Module, images: Split, config: Config, machine: Machine, state: TrainingState, report: Report
) -> None:
    """Train from where `state` stands to the last epoch; with nothing to train, return at once.

    Cross-entropy over the labels, which `training.label_smoothing` softens; batches are drawn without replacement, the
    last one may be smaller, or larger by one (see `batch_borders`). On a CPU the result depends on the seed and the
    number of threads only. In the end the model holds the weights that `training.keep` chooses.

    Raises:
        NonFiniteLossError: at the first batch whose loss is no number.
    """
    if state.optimizer is None:
        return
    first = state.epoch
    while state.epoch < config.training.epochs:
        if state.epoch == first or not model.training:  # an evaluation leaves its own mode
            set_training_mode(model)
        _train_epoch(model, images, config, machine, state, report)
        metrics = {
            Metric.TRAIN_LOSS: state.loss_sum / len(images),
            Metric.TRAIN_ACCURACY: state.correct / len(images),
            Metric.TRAIN_LR: _learning_rate(config, state.step - 1, len(images)),
            Metric.TRAIN_IMAGES_PER_SECOND: len(images) / state.seconds,
        }
        state.epoch += 1
        state.seen, state.loss_sum, state.correct, state.seconds = 0, 0.0, 0, 0.0
        report.epoch(metrics, model, state)
    if state.best_weights is not None:
        put_state(model, state.best_weights)


def draw_flips(config: Config, epoch: int, count: int) -> np.ndarray:
    """Tell which of the training images are mirrored in an epoch, where they are mirrored at all: bool [count]."""
    return np.asarray(generator(config.seed, "flips", epoch).random(count) < 0.5)


def _train_epoch(
    model: nn.Module, images: Split, config: Config, machine: Machine, state: TrainingState, report: Report
) -> None:
    """Take the steps that are left of an epoch."""
    assert state.optimizer is not None
    order = generator(config.seed, "order", state.epoch).permutation(len(images))
    flips = draw_flips(config, state.epoch, len(images))
    in_last_fifth = state.epoch >= config.training.epochs - math.ceil(config.training.epochs / 5)
    may_keep = config.training.keep == "lowest_train_loss" and in_last_fifth
    for start, end in pairwise(batch_borders(len(images), config.training.batch_size)):
        if start < state.seen:
            continue
        started = time.perf_counter()
        lr = _learning_rate(config, state.step, len(images))
        indices = order[start:end]
        with phase("batch"):
            batch = images.batch(indices, machine.device, flips[indices] if config.training.flip else None)
        _seed_layers(derive_seed(config.seed, "layers", state.step), machine.device)  # dropout and its like
        loss, hits = _step(model, batch, state.optimizer, lr, machine, config.training)
        if not math.isfinite(loss):
            raise NonFiniteLossError(
                f"the loss became {loss} in epoch {state.epoch + 1}, step {state.step + 1} at lr {lr:g}; "
                "lower optimizer.lr"
            )
        state.step += 1
        state.seen += len(indices)
        state.loss_sum += loss * len(indices)
        state.correct += hits
        if may_keep and loss < state.best_loss:
            state.best_loss = loss
            state.best_weights = {name: tensor.clone() for name, tensor in changing_state(model).items()}
        seconds = time.perf_counter() - started
        state.seconds += seconds
        state.train_seconds += seconds
        report.step(len(indices), loss, model, state)


def _seed_layers(seed: int, device: torch.device) -> None:
    """Seed what layers draw from, as `torch.manual_seed` does.

    That one seeds all kinds of devices, and of each that is not in use takes down the stack of calls.
    """
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def _learning_rate(config: Config, step: int, images: int) -> float:
    per_epoch = len(batch_borders(images, config.training.batch_size)) - 1
    return learning_rate(config.schedule, config.optimizer.lr, step, per_epoch, config.training.epochs * per_epoch)


def _step(
    model: nn.Module,
    batch: tuple[Tensor, Tensor],
    optimizer: torch.optim.Optimizer,
    lr: float,
    machine: Machine,
    recipe: TrainingConfig,
) -> tuple[float, int]:
    """Take a step, and return the batch's loss and how many of its images were predicted right."""
    images, labels = batch
    for group in optimizer.param_groups:
        group["lr"] = lr
    with phase("forward"):
        with machine.autocast():
            logits = model(images)
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=recipe.label_smoothing)
    optimizer.zero_grad(set_to_none=True)
    with phase("backward"):
        loss.backward()  # type: ignore[no-untyped-call]
    with phase("optimizer"):
        if recipe.clip_norm is not None:
            trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            nn.utils.clip_grad_norm_(trained, recipe.clip_norm)
        optimizer.step()
    return loss.item(), int((logits.argmax(1) == labels).sum().item())
