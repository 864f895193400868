"""Average the weights of a network over the steps of its training (`training.ema`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from tlft.models.freeze import copy_state, put_state


def update_average(average: dict[str, Tensor], model: nn.Module, decay: float, step: int) -> None:
    """Move an average towards the weights after the `step`th step, counted from 1.

    Exponential (Polyak and Juditsky 1992 average evenly), with the decay (1 + n) / (10 + n) where that is less, as in
    TensorFlow's ExponentialMovingAverage, so that what was there before the training does not stay. What is counted,
    and not averaged, such as batches that were seen, is taken over.
    """
    weight = 1 - min(decay, (1 + step) / (10 + step))
    tensors = model.state_dict()
    with torch.no_grad():
        for name, mean in average.items():
            if mean.is_floating_point():
                mean.lerp_(tensors[name], weight)
            else:
                mean.copy_(tensors[name])


@contextmanager
def averaged(model: nn.Module, average: dict[str, Tensor] | None) -> Iterator[None]:
    """Have the averaged weights in the model within the block; nothing is done where there is no average."""
    if average is None:
        yield
        return
    current = copy_state(model, average)
    put_state(model, average)
    try:
        yield
    finally:
        put_state(model, current)
