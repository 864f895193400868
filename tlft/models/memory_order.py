"""Lay a network out with its channels last, around a fault of the library that computes its convolutions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_BLOCK = 16
"""Channels that oneDNN takes at a time: 16 with AVX-512, 8 with AVX2."""


def to_channels_last(model: nn.Module) -> nn.Module:
    """Return the network, changed in place, with the channels of its weights last in memory.

    Its strided 1x1 convolutions of fewer than 16 channels, as in the first layer of FastViT and RepVGG, thin their
    images out before and not while they convolve: oneDNN (3.12 among others) writes behind its buffer when it computes
    the gradient of such a layer's weights with channels last, which ends the process or makes the gradients wrong
    (https://github.com/uxlfoundation/oneDNN/issues/6035). Of other networks nothing is changed.
    """
    for module in model.modules():
        if type(module) is nn.Conv2d and _is_miscomputed(module):
            module.__class__ = _ThinnedConv2d
    return model.to(memory_format=torch.channels_last)


def _is_miscomputed(layer: nn.Conv2d) -> bool:
    is_strided_point = layer.kernel_size == (1, 1) and max(layer.stride) > 1 and layer.padding == (0, 0)
    return is_strided_point and layer.groups == 1 and layer.in_channels < _BLOCK


class _ThinnedConv2d(nn.Conv2d):
    """A strided 1x1 convolution that takes every second (third, ...) pixel of its images, and convolves these."""

    def forward(self, images: Tensor) -> Tensor:
        rows, columns = self.stride
        thinned = images[..., ::rows, ::columns]
        if images.is_contiguous(memory_format=torch.channels_last):
            thinned = thinned.contiguous(memory_format=torch.channels_last)
        return F.conv2d(thinned, self.weight, self.bias)
