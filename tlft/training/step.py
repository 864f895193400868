"""Take one step of training: the loss of some batches, its gradient, and what a recipe does with it before the step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tlft.config.recipe_schema import TrainingConfig
from tlft.runtime.device import Machine
from tlft.training.optimizer import SHARE
from tlft.training.step_profile import phase

Batch = tuple[Tensor, Tensor]
"""Images as a network takes them, [b, ...], and their labels, int64 [b], or shares of each class, float32 [b, k]."""


@dataclass(frozen=True)
class Stepper:
    """Takes the steps of a training.

    Attributes:
        class_weights: of each class in the loss, float32 [classes]; None where all count alike.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    recipe: TrainingConfig
    machine: Machine
    class_weights: Tensor | None = None

    def step(self, batches: Iterable[Batch], images: int, lr: float) -> tuple[float, int]:
        """Take a step on some batches, which have so many images, as if they were one but for what looks at a batch.

        Returns:
            The mean loss before the step, and how many images were predicted right.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group.get(SHARE, 1.0)
        if self.recipe.sam is None:
            loss, hits = self._set_gradients(batches, images)
        else:
            batches = list(batches)
            loss, hits = self._set_gradients(batches, images)
            self._look_around(batches, images, self.recipe.sam)
        with phase("optimizer"):
            if self.recipe.clip_norm is not None:
                nn.utils.clip_grad_norm_(self._trained(), self.recipe.clip_norm)
            self.optimizer.step()
        return float(loss.item()), int(hits.item())

    def _set_gradients(self, batches: Iterable[Batch], images: int) -> tuple[Tensor, Tensor]:
        """Set the gradients of the mean loss over all images; returns that, and how many are predicted right.

        With class weights it is the weighted mean over all of them, as PyTorch's cross-entropy has it of one batch.
        """
        self.optimizer.zero_grad(set_to_none=True)
        losses, hits, weights = [], [], list[float]()
        for inputs, labels in batches:
            with phase("forward"):
                with self.machine.autocast():
                    logits = self.model(inputs)
                smoothing = self.recipe.label_smoothing
                loss = F.cross_entropy(logits.float(), labels, self.class_weights, label_smoothing=smoothing)
            if len(labels) != images:
                weights.append(self._weight(labels))
                loss = loss * (weights[-1] / images)
            with phase("backward"):
                loss.backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
            classes = labels if labels.ndim == 1 else labels.argmax(1)
            hits.append((logits.detach().argmax(1) == classes).sum())
        loss, weight = _sum(losses), sum(weights) or images  # known when all labels were seen
        if weight != images:
            loss = loss * (images / weight)
            for parameter in self._trained():
                if parameter.grad is not None:
                    parameter.grad.mul_(images / weight)
        return loss, _sum(hits)

    def _weight(self, labels: Tensor) -> float:
        """Return what PyTorch divides the summed loss of a batch by: their number, where labels are shares too."""
        if self.class_weights is None or labels.ndim > 1:
            return len(labels)
        return float(self.class_weights[labels].sum())

    def _look_around(self, batches: Sequence[Batch], images: int, radius: float) -> None:
        """Set the gradients to those at the steepest point within a radius (Foret et al. 2021, equations 2 and 3).

        The statistics of batch norm are those of the first pass.
        """
        parameters = [parameter for parameter in self._trained() if parameter.grad is not None]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        length = torch.nn.utils.get_total_norm(gradients)
        before = [parameter.detach().clone() for parameter in parameters]
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.add_(gradient * (radius / (length + 1e-12)))
        with _without_statistics(self.model):
            self._set_gradients(batches, images)
        with torch.no_grad():
            for parameter, value in zip(parameters, before, strict=True):
                parameter.copy_(value)

    def _trained(self) -> list[nn.Parameter]:
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]


def _sum(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.stack(list(tensors)).sum()


@contextmanager
def _without_statistics(model: nn.Module) -> Iterator[None]:
    """Have batch norm in training mode use the batch and keep nothing of it, within the block."""
    norms = [
        module
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training and module.track_running_stats
    ]
    for module in norms:
        module.track_running_stats = False
    try:
        yield
    finally:
        for module in norms:
            module.track_running_stats = True


def balanced_weights(labels: np.ndarray) -> np.ndarray:
    """Return of each class n / (k * n_c) as in King and Zeng 2001: float32 [k], of the n labels, int64 [n].

    The mean over the images is one.
    """
    counts = np.bincount(labels)
    return (len(labels) / (len(counts) * np.maximum(counts, 1))).astype(np.float32)
