"""What memory the training of a network takes, found out without computing anything: its tensors have no data."""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn

from tlft.config.schema import Config
from tlft.models.freeze import freeze, set_training_mode
from tlft.models.network import build_without_data
from tlft.runtime.device import resolve_precision

log = logging.getLogger(__name__)

_HELD = {"float32": 1.65, "bfloat16": 0.95}
"""Bytes that a training holds on the CPU for each that autograd keeps of a float32 forward pass.

Measured with freed memory kept, in float32: 1.5 (EfficientNet-Lite0 and ViT-Ti with 16 images in a step), 1.66
(EfficientNet-Lite0 with 64, ResNet-50 with 16) and 1.2 (ResNet-18); in bfloat16 0.83 (EfficientNet-Lite0, ResNet-50).
"""
_STATES, _MOST_STATES = {"sgd": 1, "adam": 2, "adamw": 2}, 3


def training_memory(config: Config, batch: int, size: int) -> int:
    """Return about how many bytes a training on the CPU holds, beside what every process holds.

    Args:
        config: of the run.
        batch: images in a step.
        size: their side in pixels.

    Returns:
        0 if the network cannot be looked at in this way.
    """
    try:
        model = build_without_data(config.arch.library, config.arch.name)
        freeze(model, config.training.trainable)
        set_training_mode(model)
        activations = _saved_for_backward(model, torch.empty(batch, 3, size, size, device="meta"))
    except Exception as error:  # whatever code of a network does with tensors that have no data
        log.debug("%s: %s", config.arch.name, error)
        return 0
    trained = sum(p.nbytes for p in model.parameters() if p.requires_grad)
    copies = 2 if config.training.keep == "lowest_train_loss" or config.training.ema or config.training.sam else 1
    weights = copies * sum(p.nbytes for p in model.parameters())
    held = _HELD[resolve_precision(config.precision, torch.device("cpu"))]
    return int(weights + (1 + _STATES.get(config.optimizer.name, _MOST_STATES)) * trained + held * activations)


def _saved_for_backward(model: nn.Module, images: Tensor) -> int:
    """Return the bytes that autograd keeps of a forward pass, weights aside; each storage counts once."""
    weights = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    saved: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        if (storage := tensor.untyped_storage()._cdata) not in weights:
            saved[storage] = tensor  # kept, or the next one may get its address
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs = model(images.contiguous(memory_format=torch.channels_last))
    del outputs
    return sum(tensor.untyped_storage().nbytes() for tensor in saved.values())
