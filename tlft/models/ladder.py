"""The rungs between random and pretrained weights, each of which keeps more of what pretraining has given.

What is kept: of `moments` the scale of each tensor, of `shuffled` its very values, of `stages` the first part of the
network. Raghu, Zhang, Kleinberg and Bengio, Transfusion: understanding transfer learning for medical imaging (2019),
found by the first and the last of these how much of the gain is scale and how much features.
"""

from __future__ import annotations

from itertools import chain

import torch
from torch import nn

from tlft.errors import ConfigurationError
from tlft.models.freeze import stages
from tlft.models.head import head_names
from tlft.models.tensors import tensors_of


def draw_by_moments(model: nn.Module, pretrained: nn.Module, seed: int) -> None:
    """Draw each parameter of a network from the normal distribution with mean and deviation of the pretrained one's.

    Buffers, such as the statistics of batch norm, stay those of a new network: they are of other features.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for own, theirs in zip(model.parameters(), pretrained.parameters(), strict=True):
            drawn = torch.randn(theirs.shape, generator=generator, dtype=theirs.dtype)
            own.copy_(theirs.mean() + theirs.std(correction=0) * drawn)


def shuffle_values(model: nn.Module, pretrained: nn.Module, seed: int) -> None:
    """Give each parameter of a network the values of the pretrained one's, in a random order; buffers as above."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for own, theirs in zip(model.parameters(), pretrained.parameters(), strict=True):
            order = torch.randperm(theirs.numel(), generator=generator)
            own.copy_(theirs.flatten()[order].reshape(theirs.shape))


def take_first_stages(model: nn.Module, pretrained: nn.Module, count: int) -> None:
    """Give a network the pretrained one's first stages, with their buffers, and what stands before all of them.

    Raises:
        ConfigurationError: if the backbone has fewer stages.
    """
    backbone = stages(model)
    if count > len(backbone):
        raise ConfigurationError(f"model.stages={count}: the backbone has {len(backbone)} stages; give at most that")
    if count == 0:
        return
    theirs = pretrained.state_dict()
    left_out = tensors_of([*chain(*backbone[count:]), *head_names(model)], theirs)
    model.load_state_dict({name: theirs[name] for name in theirs.keys() - left_out.keys()}, strict=False)
