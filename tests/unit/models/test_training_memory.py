from __future__ import annotations

import pytest
import torch
from conftest import TINY_ARCH, Configure
from torch import nn

from tlft.models import network as network_module
from tlft.models import training_memory as memory_module
from tlft.models.training_memory import training_memory


def test_what_autograd_keeps_is_counted_once_and_without_the_weights() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1)).to("meta")
    images, hidden = 5 * 3 * 8 * 8 * 4, 5 * 4 * 8 * 8 * 4  # bytes; ReLU's output is the next layer's input
    assert memory_module._saved_for_backward(model, torch.empty(5, 3, 8, 8, device="meta")) == images + hidden


def test_a_larger_batch_and_more_trained_layers_take_more(configure: Configure) -> None:
    def need(*overrides: str, batch: int = 8) -> int:
        return training_memory(configure("model=scratch", "precision=float32", *TINY_ARCH, *overrides), batch, 64)

    whole = need()
    assert 1.7 < need(batch=16) / whole < 2
    assert need("training.trainable=head") < 0.25 * whole
    assert need("precision=bfloat16") < 0.7 * whole
    assert need("optimizer=adam") > whole
    assert need("training.keep=lowest_train_loss") > whole


def test_a_network_of_which_nothing_can_be_said_is_not_guessed_at(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Odd(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images[: int(images.sum().item())]

    monkeypatch.setattr(network_module, "build_network", lambda library, name: Odd())
    assert training_memory(configure("model=scratch", *TINY_ARCH), 8, 64) == 0


def test_a_network_whose_layers_are_drawn_from_tensors_is_built_first(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(library: str, name: str) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, int(torch.tensor(10).item())))

    monkeypatch.setattr(network_module, "build_network", build)
    config = configure("model=scratch", "precision=float32", *TINY_ARCH)
    weights, images = (3 * 8 * 8 + 1) * 10 * 4, 2 * 3 * 8 * 8 * 4
    assert training_memory(config, 2, 8) == int(3 * weights + memory_module._HELD["float32"] * images)
