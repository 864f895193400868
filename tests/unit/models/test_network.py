from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import timm
import torch
from conftest import TINY_ARCH, Configure
from networks import build, differing
from torch import nn
from torchvision import models

from tlft.errors import ConfigurationError
from tlft.models.build import rebuild_model
from tlft.models.head import replace_head
from tlft.models.network import Options, build_network
from tlft.training.checkpoint import save_tensors


def rates(model: nn.Module, kind: str, attribute: str) -> list[float]:
    return [getattr(module, attribute) for module in model.modules() if type(module).__name__ == kind]


def depth_rates(model: nn.Module) -> list[float]:
    return [*rates(model, "StochasticDepth", "p"), *rates(model, "DropPath", "drop_prob")]


def swin_t() -> nn.Module:
    window = {"patch_size": [4, 4], "embed_dim": 96, "num_heads": [3, 6, 12, 24], "window_size": [7, 7]}
    return models.SwinTransformer(depths=[2, 2, 6, 2], stochastic_depth_prob=0.3, **window)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("library", "name", "of_library"),
    [
        ("torchvision", "efficientnet_b0", lambda: models.efficientnet_b0(stochastic_depth_prob=0.3)),
        ("torchvision", "convnext_tiny", lambda: models.convnext_tiny(stochastic_depth_prob=0.3)),
        ("torchvision", "swin_t", swin_t),
        ("timm", "test_vit", lambda: timm.create_model("test_vit", drop_path_rate=0.3)),
        ("timm", "test_efficientnet", lambda: timm.create_model("test_efficientnet", drop_path_rate=0.3)),
    ],
)
def test_blocks_are_left_out_as_often_as_the_library_itself_leaves_them_out(
    library: str, name: str, of_library: Callable[[], nn.Module]
) -> None:
    model = build_network(library, name, Options(stochastic_depth=0.3))
    assert depth_rates(model) == pytest.approx(depth_rates(of_library()))
    assert max(depth_rates(model)) > 0.2
    assert not any(depth_rates(build_network(library, name, Options(stochastic_depth=0.0))))


@pytest.mark.parametrize(
    ("library", "name"),
    [
        ("torchvision", "alexnet"),
        ("torchvision", "vit_b_16"),
        ("torchvision", "densenet121"),
        ("torchvision", "mobilenet_v3_small"),
        ("timm", "test_vit"),
        ("timm", "test_efficientnet"),
    ],
)
def test_dropout_has_the_rate_that_is_asked_for(library: str, name: str) -> None:
    torch.manual_seed(0)
    model = build_network(library, name, Options(dropout=0.4)).train()
    own = {rate for rate in rates(model, "Dropout", "p") if rate}
    named = {module.drop_rate for module in model.modules() if isinstance(getattr(module, "drop_rate", None), float)}
    assert 0.4 in own | named
    replace_head(model, 2)  # a transformer's own begins with zeros
    images = torch.rand(2, 3, 224, 224)
    assert not torch.equal(model(images), model(images))


@pytest.mark.parametrize(
    ("library", "name", "key"),
    [
        ("torchvision", "resnet18", "dropout"),
        ("torchvision", "resnet18", "stochastic_depth"),
        ("torchvision", "maxvit_t", "dropout"),
        ("torchvision", "vgg11", "stochastic_depth"),
    ],
)
def test_a_network_without_such_layers_says_so_in_one_line(
    configure: Configure, library: str, name: str, key: str
) -> None:
    network = (f"arch={library}", f"arch.name={name}", "model=scratch", "head=task")
    with pytest.raises(ConfigurationError, match=rf"^training\.{key}: {name} has none to set \(.*\); leave it out, or"):
        build(configure(*network, f"training.{key}=0.1"))
    build(configure(*network, f"training.{key}=0.1", "training.trainable=none"))  # where nothing is drawn


def test_rates_change_no_weight(configure: Configure) -> None:
    plain = build(configure(*TINY_ARCH, "model=scratch"))
    rated = build(configure(*TINY_ARCH, "model=scratch", "training.dropout=0.5", "training.stochastic_depth=0.2"))
    assert differing(plain.state_dict(), rated.state_dict()) == set()
    assert depth_rates(rated) != depth_rates(plain)


def test_a_transformer_takes_images_of_another_size_by_resampling_where_it_looks(configure: Configure) -> None:
    network = ("arch=timm", "arch.name=vit_tiny_patch16_224", "model=scratch", "head=task")
    own = build(configure(*network)).eval()
    other = build(configure(*network, "data.image_size=96")).eval()
    assert differing(own.state_dict(), other.state_dict()) == set()
    small, large = torch.rand(2, 3, 96, 96), torch.rand(2, 3, 224, 224)
    assert other(small).shape == (2, 2)
    torch.testing.assert_close(other(large), own(large))
    both = build(configure(*network, "training.image_size=96")).eval()
    assert torch.equal(both(small), other(small))
    native = build(configure(*network, "data.image_size=224"))  # by its key it is the run without
    assert torch.equal(native.eval()(large), own(large))
    with pytest.raises(AssertionError):
        own(small)


def test_it_takes_them_too_when_it_is_built_again(
    configure: Configure, tmp_path_factory: pytest.TempPathFactory
) -> None:
    name = "vit_tiny_patch16_224"
    model = build(configure("arch=timm", f"arch.name={name}", "model=scratch", "head=task", "data.image_size=96"))
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_tensors(model.state_dict(), path)
    description = {"library": "timm", "arch": name, "head": "task", "classes": ["a", "b"], "any_size": True}
    images = torch.rand(1, 3, 96, 96)
    assert torch.equal(rebuild_model(description, path)(images), model.eval()(images))


@pytest.mark.parametrize(("library", "name"), [("torchvision", "vit_b_32"), ("timm", "levit_128s")])
def test_a_size_that_a_network_cannot_take_is_refused_by_the_key_that_gave_it(
    configure: Configure, library: str, name: str
) -> None:
    network = (f"arch={library}", f"arch.name={name}", "model=scratch", "head=task")
    for key in ("data.image_size", "training.image_size"):
        with pytest.raises(ConfigurationError, match=rf"^{re.escape(key)}=96: {name} does not take images of"):
            build(configure(*network, f"{key}=96"))


@pytest.mark.parametrize("name", ["deit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "xcit_nano_12_p16_224"])
def test_transformers_of_timm_that_take_other_sizes(configure: Configure, name: str) -> None:
    model = build(configure("arch=timm", f"arch.name={name}", "model=scratch", "head=task", "data.image_size=128"))
    assert model.eval()(torch.rand(1, 3, 128, 128)).shape == (1, 2)
