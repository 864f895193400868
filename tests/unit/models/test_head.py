from __future__ import annotations

import pytest
import torch
from conftest import Configure
from networks import build, differing
from torch import nn

from tlft.errors import ConfigurationError
from tlft.models.build import build_network
from tlft.models.head import head_name, replace_head


def test_task_head_replaces_exactly_the_classifier_of_lite0(configure: Configure) -> None:
    common = ("arch=efficientnet_lite0", "training.trainable=none")
    untouched = build(configure(*common, "head=imagenet1k")).state_dict()
    assert differing(untouched, build(configure(*common, "head=task")).state_dict()) == {
        "classifier.weight",
        "classifier.bias",
    }


@pytest.mark.parametrize(
    ("library", "name", "head"),
    [
        ("torchvision", "resnet18", "fc"),
        ("torchvision", "vgg11", "classifier.6"),
        ("torchvision", "squeezenet1_1", "classifier.1"),
        ("torchvision", "densenet121", "classifier"),
        ("torchvision", "vit_b_16", "heads.head"),
        ("torchvision", "googlenet", "fc"),
        ("timm", "vit_tiny_patch16_224", "head"),
        ("timm", "convnext_atto", "head.fc"),
    ],
)
def test_any_network_gets_its_head_replaced(library: str, name: str, head: str) -> None:
    model = build_network(library, name)
    assert head_name(model) == head
    before = set(model.state_dict())
    replace_head(model, 3)
    assert set(model.state_dict()) == before
    assert model.eval()(torch.zeros(1, 3, 224, 224)).shape == (1, 3)


def test_a_network_without_a_classifier_says_so() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Identity())
    model.pretrained_cfg = {"classifier": "1"}  # type: ignore[assignment]
    with pytest.raises(ConfigurationError, match="was trained without classes"):
        head_name(model)
