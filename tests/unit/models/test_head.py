from __future__ import annotations

import pytest
import torch
from conftest import Configure
from networks import build, differing
from torch import nn

from tlft.errors import ConfigurationError
from tlft.models.freeze import freeze, set_training_mode
from tlft.models.head import head_names, replace_head
from tlft.models.network import build_network


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
    assert head_names(model) == [head]
    before = set(model.state_dict())
    replace_head(model, 3)
    assert set(model.state_dict()) == before
    assert model.eval()(torch.zeros(1, 3, 224, 224)).shape == (1, 3)


@pytest.mark.parametrize(
    ("name", "heads"),
    [
        ("deit_tiny_distilled_patch16_224", ["head", "head_dist"]),
        ("levit_128s", ["head.linear", "head_dist.linear"]),
        ("repvit_m0_9", ["head.head.l", "head.head_dist.l"]),
        ("crossvit_9_240", ["head.0", "head.1"]),
        ("efficientvim_m1", ["heads.0", "heads.1", "heads.2", "heads.3"]),
    ],
)
def test_every_classifier_of_a_network_is_replaced_and_trained(name: str, heads: list[str]) -> None:
    model = build_network("timm", name)
    assert head_names(model) == heads
    replace_head(model, 3)
    freeze(model, "head")
    trained = {key for key, parameter in model.named_parameters() if parameter.requires_grad}
    assert {key.rpartition(".")[0] for key in trained} == set(heads)
    set_training_mode(model)
    crop = 240 if name == "crossvit_9_240" else 224
    logits = model(torch.rand(2, 3, crop, crop))
    assert logits.shape == (2, 3)
    logits.sum().backward()
    assert all(model.get_parameter(key).grad is not None for key in trained)
    assert model.eval()(torch.zeros(1, 3, crop, crop)).shape == (1, 3)


def test_a_network_without_a_classifier_says_so() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Identity())
    model.pretrained_cfg = {"classifier": "1"}  # type: ignore[assignment]
    with pytest.raises(ConfigurationError, match="was trained without classes"):
        head_names(model)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_dinov3_qkvb", "vit_base_patch16_clip_224", "convnext_tiny"])
def test_a_network_that_was_trained_without_classes_is_given_a_classifier(name: str) -> None:
    with torch.device("meta"):
        model = build_network("timm", name)
        replace_head(model, 3)
    (head,) = head_names(model)
    layer = model.get_submodule(head)
    assert isinstance(layer, nn.Linear)
    assert layer.out_features == 3
    assert model.num_classes == 3
