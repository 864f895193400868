"""Where networks are cut: the halves give the bits of the whole, or nothing is cut."""

from __future__ import annotations

import pytest
import torch
from tiny_network import CPU, TinyClassifier
from torch import Tensor, nn
from torch.nn import functional as F

from tlft.features.border import Border, UncuttableError, find_border, from_border, frozen_output
from tlft.models.freeze import freeze, set_training_mode
from tlft.models.head import replace_head
from tlft.models.network import build_network


def cut(model: nn.Module, trainable: str = "head", size: int = 64) -> Border | None:
    freeze(model, trainable)
    return find_border(model.to(memory_format=torch.channels_last), size, CPU)


def network(library: str, name: str) -> nn.Module:
    torch.manual_seed(0)
    model = build_network(library, name)
    replace_head(model, 2)
    return model


NETWORKS = [
    ("torchvision", "resnet18", "head", "fc", 64),
    ("torchvision", "resnet18", "1", "layer4", 64),
    ("torchvision", "resnet18", "3", "layer2", 64),
    ("torchvision", "mobilenet_v3_small", "head", "classifier.2", 64),  # dropout, and before that a frozen layer
    ("torchvision", "mobilenet_v3_small", "1", "classifier", 64),
    ("torchvision", "efficientnet_b0", "head", "classifier", 64),
    ("torchvision", "mnasnet0_5", "head", "classifier", 64),  # dropout in place
    ("torchvision", "squeezenet1_1", "head", "classifier", 64),  # a convolutional classifier, pooled after it
    ("torchvision", "densenet121", "1", "features.denseblock4", 64),
    ("torchvision", "googlenet", "head", "dropout", 64),
    ("torchvision", "shufflenet_v2_x0_5", "2", "stage4", 64),
    ("timm", "test_efficientnet", "head", "classifier", 64),
    ("timm", "test_resnet", "1", "layer4", 64),
    ("timm", "test_convnext", "head", "head.fc", 64),
    ("timm", "test_vit", "head", "head", 160),
    ("timm", "test_vit", "2", "blocks.4", 160),
    ("timm", "deit_tiny_distilled_patch16_224", "head", "norm", 224),  # two heads, of two tokens
    ("timm", "resnetv2_50", "head", "head.fc", 64),  # a convolution as head, flattened after it
]


@pytest.mark.parametrize(("library", "name", "trainable", "module", "size"), NETWORKS)
def test_halves_of_a_network_give_the_bits_of_the_whole(
    library: str, name: str, trainable: str, module: str, size: int
) -> None:
    model = network(library, name)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    border = cut(model, trainable, size)
    assert border is not None
    assert border.module == module
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())

    images = torch.randn(5, 3, size, size).to(memory_format=torch.channels_last)
    with torch.no_grad():
        features = frozen_output(model, border, images)
        assert list(features.shape[1:]) == border.shape
        for prepare in (set_training_mode, nn.Module.eval):
            prepare(model)
            torch.manual_seed(1)
            whole = model(images)
            torch.manual_seed(1)
            with from_border(model, border):
                halves = model(features.clone())
            assert torch.equal(whole, halves)
    set_training_mode(model)
    assert model(images).shape == (5, 2)  # it takes images again
    assert [key for key, _ in model.named_modules()] == [key for key, _ in network(library, name).named_modules()]


def test_gradients_of_the_second_half_are_those_of_the_whole() -> None:
    model = network("torchvision", "resnet18")
    border = cut(model, "1")
    assert border is not None
    images = torch.randn(4, 3, 64, 64).to(memory_format=torch.channels_last)
    gradients = []
    with torch.no_grad():
        features = frozen_output(model, border, images)
    for given in (images, features):
        set_training_mode(model)
        model.zero_grad()
        if given is features:
            with from_border(model, border):
                model(given).square().sum().backward()
        else:
            model(given).square().sum().backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.equal(gradient, gradients[1][name]) for name, gradient in gradients[0].items())


def test_dropout_before_the_head_is_drawn_after_the_border() -> None:
    border = cut(TinyClassifier(), size=8)
    assert border is not None
    assert border.module == "drop"


def test_nothing_frozen_before_what_is_trained_is_no_border() -> None:
    assert cut(network("torchvision", "resnet18"), "5") is None
    assert cut(network("torchvision", "resnet18"), "all") is None


class Normalising(TinyClassifier):
    """Looks at the mean of a batch, so that what it says of an image depends on the others."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images - images.mean(0, keepdim=True))


class Dropping(TinyClassifier):
    """Draws random numbers where no layer of its own does."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(F.dropout(images, 0.5, self.training))


class Skipping(TinyClassifier):
    """Hands something past what is trained."""

    def forward(self, images: Tensor) -> Tensor:
        features = self.norm(self.conv(images)).relu().mean((2, 3))
        return self.fc(self.drop(features)) + features[:, :2]  # type: ignore[no-any-return]


class Repeating(TinyClassifier):
    """Calls what is trained twice."""

    def forward(self, images: Tensor) -> Tensor:
        features = self.norm(self.conv(images)).relu().mean((2, 3))
        return self.fc(features) + self.fc(self.drop(features) * 2)  # type: ignore[no-any-return]


class Dispensing(TinyClassifier):
    """Has its frozen part inside a part that hands on more than a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair(self.conv)
        del self.conv, self.fc
        self.fc = nn.Linear(8, 2)  # the last layer is the head

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(torch.cat([part.mean((2, 3)) for part in self.pair(images)], 1))  # type: ignore[no-any-return]


class Pair(nn.Module):
    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.conv(images)
        return features, features.relu()


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Normalising, "depends on those beside it"),
        (Dropping, "needs more than what drop is given"),
    ],
)
def test_a_network_that_cannot_be_cut_says_why(model: type[nn.Module], reason: str) -> None:
    with pytest.raises(UncuttableError, match=reason):
        cut(model(), size=8)


@pytest.mark.parametrize("model", [Skipping, Repeating])
def test_where_more_is_needed_than_the_first_active_layer_is_given_the_cut_is_before_that(
    model: type[nn.Module],
) -> None:
    border = cut(model(), size=8)
    assert border is not None
    assert border.module == "norm"


def test_parts_that_hand_on_more_than_a_tensor_do_no_harm_where_only_the_last_part_is_trained() -> None:
    border = cut(Dispensing(), size=8)
    assert border is not None
    assert (border.module, border.is_last) == ("fc", True)
