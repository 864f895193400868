from __future__ import annotations

import pytest
import torch
from conftest import Configure
from networks import build, differing
from torchvision.models import resnet18

from tlft.errors import ConfigurationError
from tlft.models.freeze import freeze, set_training_mode, stages


def test_stages_run_from_input_to_output(configure: Configure) -> None:
    lite0 = build(configure("arch=efficientnet_lite0"))
    assert [names[0] for names in stages(lite0)] == ["conv_stem", *(f"blocks.{i}" for i in range(7)), "conv_head"]
    assert stages(resnet18()) == [["conv1", "bn1"], ["layer1"], ["layer2"], ["layer3"], ["layer4"]]


@pytest.mark.parametrize(
    ("trainable", "trained"),
    [("head", {"fc"}), ("none", set()), ("0", {"fc"}), ("1", {"fc", "layer4"}), ("2", {"fc", "layer4", "layer3"})],
)
def test_only_the_named_part_is_trained(trainable: str, trained: set[str]) -> None:
    model = resnet18()
    freeze(model, trainable)
    assert {name.partition(".")[0] for name, p in model.named_parameters() if p.requires_grad} == trained


def test_more_stages_than_there_are_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="the backbone has 5 stages"):
        freeze(resnet18(), "6")


@pytest.mark.parametrize("trainable", ["head", "1"])
def test_frozen_parts_keep_their_batch_norm_statistics(trainable: str) -> None:
    model = resnet18(num_classes=2)
    freeze(model, trainable)
    set_training_mode(model)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model(torch.rand(4, 3, 64, 64)).sum().backward()
    optimizer.step()
    moved = {key.partition(".")[0] for key in differing(before, model.state_dict())}
    assert moved == ({"fc"} if trainable == "head" else {"fc", "layer4"})


def test_every_trained_parameter_gets_a_gradient() -> None:
    model = resnet18(num_classes=2)
    model(torch.rand(4, 3, 64, 64)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
