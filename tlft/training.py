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
from torch.nn import functional as F

from tlft.config import AdamConfig, Config, OptimizerConfig, ScheduleConfig, SgdConfig
from tlft.errors import NonFiniteLossError
from tlft.images import Split
from tlft.machine import Machine
from tlft.models import set_training_mode
from tlft.seeds import derive_seed, generator


class Report(Protocol):
    """What training tells while it goes on."""

    def step(self, epoch: int, images: int, loss: float) -> None:
        """Hear that a step was taken on so many images; `epoch` counts from 1."""

    def epoch(self, epoch: int, metrics: dict[str, float], model: nn.Module) -> None:
        """Hear the metrics of an epoch that has ended; the model may be evaluated, its mode is set again."""


@dataclass
class TrainingState:
    """Everything that changes while training goes on, but for the model itself.

    Attributes:
        epoch: epochs that are complete.
        step: steps that were taken in all.
        best_loss: lowest batch loss seen where `training.keep` looks, else infinite.
        best_weights: the model's state after that step.
    """

    optimizer: torch.optim.Optimizer | None
    epoch: int = 0
    step: int = 0
    best_loss: float = math.inf
    best_weights: dict[str, Tensor] | None = None


def fresh_state(config: Config, model: nn.Module) -> TrainingState:
    """Return the state before the first step; without an optimizer where nothing is trained."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return TrainingState(build_optimizer(config.optimizer, trained) if trained and config.epochs else None)


def build_optimizer(config: OptimizerConfig, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Build the optimizer that the configuration names."""
    lr, weight_decay = config.lr, config.weight_decay
    if isinstance(config, SgdConfig):
        momentum, nesterov = config.momentum, config.nesterov
        return torch.optim.SGD(parameters, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)
    assert isinstance(config, AdamConfig)
    optimizer = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    betas = (config.beta1, config.beta2)
    return optimizer(parameters, lr=lr, betas=betas, eps=config.eps, weight_decay=weight_decay)


def learning_rate(schedule: ScheduleConfig, lr: float, step: int, steps_per_epoch: int, steps: int) -> float:
    """Return the learning rate of a step, counted from 0.

    Linear warm-up reaches `lr` at its last step; the cosine (Loshchilov and Hutter 2017, SGDR, eq. 5, one cycle)
    falls from `lr` to zero over the steps after it.
    """
    warmup = round(schedule.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return lr * (step + 1) / warmup
    if schedule.name == "cosine":
        return lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))
    return lr


def train(
    model: nn.Module, images: Split, config: Config, machine: Machine, state: TrainingState, report: Report
) -> None:
    """Train from where `state` stands to the last epoch; with nothing to train, return at once.

    Cross-entropy over the labels; batches are drawn without replacement, the last one may be smaller. On a CPU the
    result depends on the seed and the number of threads only. In the end the model holds the weights that
    `training.keep` chooses.

    Raises:
        NonFiniteLossError: at the first batch whose loss is no number.
    """
    if state.optimizer is None:
        return
    batch_size = config.training.batch_size
    steps_per_epoch = math.ceil(len(images) / batch_size)
    first_kept = config.epochs - math.ceil(config.epochs / 5)
    for epoch in range(state.epoch, config.epochs):
        set_training_mode(model)
        torch.manual_seed(derive_seed(config.seed, "layers", epoch))  # dropout and its like
        order = generator(config.seed, "order", epoch).permutation(len(images))
        flips = generator(config.seed, "flips", epoch).random(len(images)) < 0.5
        started, loss_sum, correct = time.perf_counter(), 0.0, 0
        for start in range(0, len(images), batch_size):
            lr = learning_rate(
                config.schedule,
                config.optimizer.lr,
                state.step,
                steps_per_epoch,
                config.epochs * steps_per_epoch,
            )
            indices = order[start : start + batch_size]
            batch = images.batch(indices, machine.device, flips[indices] if config.training.flip else None)
            loss, hits = _step(model, batch, state.optimizer, lr, machine)
            if not math.isfinite(loss):
                raise NonFiniteLossError(
                    f"the loss became {loss} in epoch {epoch + 1}, step {state.step + 1} at lr {lr:g}; "
                    "lower optimizer.lr"
                )
            state.step += 1
            loss_sum += loss * len(indices)
            correct += hits
            if config.training.keep == "lowest_train_loss" and epoch >= first_kept and loss < state.best_loss:
                state.best_loss = loss
                state.best_weights = {key: value.detach().clone() for key, value in model.state_dict().items()}
            report.step(epoch + 1, len(indices), loss)
        state.epoch = epoch + 1
        seconds = time.perf_counter() - started
        metrics = {
            "train/loss": loss_sum / len(images),
            "train/accuracy": correct / len(images),
            "train/lr": lr,
            "throughput/train_images_per_second": len(images) / seconds,
        }
        report.epoch(state.epoch, metrics, model)
    if state.best_weights is not None:
        model.load_state_dict(state.best_weights)


def _step(
    model: nn.Module,
    batch: tuple[Tensor, Tensor],
    optimizer: torch.optim.Optimizer,
    lr: float,
    machine: Machine,
) -> tuple[float, int]:
    images, labels = batch
    for group in optimizer.param_groups:
        group["lr"] = lr
    with machine.autocast():
        logits = model(images)
    loss = F.cross_entropy(logits.float(), labels)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.item(), int((logits.argmax(1) == labels).sum().item())


def unfinished_images(config: Config, images: Split, state: TrainingState) -> int:
    """Return how many images are still to be trained on."""
    return len(images) * (config.epochs - state.epoch) if state.optimizer is not None else 0
