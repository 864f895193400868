"""Networks that a configuration asks for, a file of weights, and how two states differ."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import nn

from tlft.config.schema import Config
from tlft.models.build import build_model
from tlft.models.weights import find_weights

State = dict[str, torch.Tensor]


def build(config: Config, num_classes: int = 2) -> nn.Module:
    return build_model(config, find_weights(config), num_classes)


def differing(first: State, second: State) -> set[str]:
    assert first.keys() == second.keys()
    return {key for key in first if first[key].shape != second[key].shape or not torch.equal(first[key], second[key])}


def save_random_resnet50(folder: Path) -> Path:
    """Write a file of ResNet-50's layout with random values, the digest of its bytes in its name."""
    from torchvision.models import resnet50

    generator = torch.Generator().manual_seed(3)
    state = {
        key: torch.rand(value.shape, generator=generator) * 0.05 if value.is_floating_point() else value
        for key, value in resnet50().state_dict().items()
        if not key.endswith("num_batches_tracked")  # the published files have none
    }
    path = folder / "raw.pth"
    torch.save(state, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return path.rename(folder / f"resnet50-{digest[:8]}.pth")
