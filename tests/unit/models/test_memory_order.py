from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from tlft.models.memory_order import to_channels_last


def gradients(layer: nn.Conv2d, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
    images = images.clone(memory_format=torch.preserve_format).requires_grad_()
    outputs = layer(images)
    (outputs * torch.linspace(0, 1, outputs.numel()).reshape(outputs.shape)).sum().backward()
    assert layer.weight.grad is not None
    assert images.grad is not None
    return outputs.detach(), layer.weight.grad, images.grad


@pytest.mark.parametrize("stride", [2, 3, (2, 1)])
@pytest.mark.parametrize(("channels", "has_bias"), [(3, False), (7, True), (12, True)])
def test_a_strided_point_of_few_channels_gives_what_the_library_gives_in_its_own_order(
    channels: int, has_bias: bool, stride: int | tuple[int, int]
) -> None:
    torch.manual_seed(0)
    layer, images = nn.Conv2d(channels, 16, 1, stride, bias=has_bias), torch.rand(2, channels, 15, 16)
    of_library = gradients(layer, images)
    layer.zero_grad()
    layer = to_channels_last(layer)  # type: ignore[assignment]
    ours = gradients(layer, images.contiguous(memory_format=torch.channels_last))
    for our, their in zip(ours, of_library, strict=True):
        torch.testing.assert_close(our, their)
    assert ours[0].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(3, 8, 3, 2),
        nn.Conv2d(3, 8, 1),
        nn.Conv2d(16, 8, 1, 2),
        nn.Conv2d(8, 8, 1, 2, groups=8),
        nn.Conv2d(3, 8, 1, 2, padding=1),
    ],
)
def test_other_layers_stay_what_they_are(layer: nn.Conv2d) -> None:
    assert type(to_channels_last(layer)) is nn.Conv2d


@pytest.mark.slow
def test_a_network_with_such_a_layer_is_trained() -> None:
    code = (
        "import timm, torch; from tlft.models.memory_order import to_channels_last;"
        "model = to_channels_last(timm.create_model('fastvit_t8'));"
        "images = torch.rand(2, 3, 64, 64).contiguous(memory_format=torch.channels_last);"
        "[model(images).sum().backward() for _ in range(2)]"
    )  # in a process of its own, since what it would otherwise overwrite may show much later
    assert subprocess.run([sys.executable, "-c", code], timeout=300).returncode == 0
