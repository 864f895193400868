"""What the libraries say of their networks and of the weights published for them; nothing is fetched or loaded."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from tlft.errors import ConfigurationError
from tlft.models.network import build_without_data
from tlft.models.spec import LITE0, ask_library, list_networks
from tlft.models.weights import find_on_disk

log = logging.getLogger(__name__)

LIBRARIES = ("torchvision", "timm")


@dataclass(frozen=True)
class PublishedWeights:
    """One set of weights of a network.

    Attributes:
        name: what `model.weights` calls it.
        accuracy: top-1, 0..1, on the 50,000 validation images of ImageNet-1k, as its publisher gives it; None where
            the library does not say it.
        num_classes: outputs of its head.
        size: side of the square images that they were trained for, in pixels.
        is_default: whether `model.weights=auto` takes them.
    """

    name: str
    accuracy: float | None
    num_classes: int
    size: int
    on_disk: bool
    is_default: bool


@dataclass(frozen=True)
class Network:
    """One network.

    Attributes:
        parameters: how many, with a head of 1000 classes.
        multiply_adds: of one image of the size of its default weights, in convolutions and matrix products. None where
            they are not counted.
    """

    library: str
    name: str
    parameters: int | None
    multiply_adds: int | None
    weights: tuple[PublishedWeights, ...]


def find_networks(pattern: str, libraries: tuple[str, ...] = LIBRARIES) -> list[tuple[str, str]]:
    """Return (library, name) of the networks whose names match a pattern of the shell, or contain a word."""
    whole = pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*"
    return [(library, name) for library in libraries for name in list_networks(library) if fnmatch(name, whole)]


def describe_network(library: str, name: str, *, counted: bool = True) -> Network:
    """Ask the library for the weights of a network, and count its parameters and its arithmetic, where `counted`."""
    weights = _published(library, name)
    if not counted:
        return Network(library, name, None, None, weights)
    sizes = [one.size for one in sorted(weights, key=lambda one: not one.is_default)]
    return Network(library, name, *_count(library, name, sizes[0] if sizes else 224), weights)


def _published(library: str, name: str) -> tuple[PublishedWeights, ...]:
    """Return all weights that runs can take; those for images that are no centred squares are left out."""
    try:
        default = ask_library(library, name, "auto").name
    except ConfigurationError:
        default = ""
    weights = []
    for tag, accuracy in _accuracies(library, name).items():
        with suppress(ConfigurationError):
            spec = ask_library(library, name, tag)
            on_disk, size = find_on_disk(spec) is not None, spec.transform.crop
            weights.append(PublishedWeights(tag, accuracy, spec.num_classes, size, on_disk, spec.name == default))
    return tuple(weights)


def _accuracies(library: str, name: str) -> dict[str, float | None]:
    """Return the names of all weights, each with its accuracy on ImageNet-1k as far as the library says it."""
    if library == "torchvision":
        from torchvision.models import get_model_weights

        entries: Any = get_model_weights(name)
        return {entry.name: _top_1(entry.meta.get("_metrics", {}).get("ImageNet-1K", {})) for entry in entries}
    import timm

    tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{name}.*")]
    packaged = [LITE0] if name == "tf_efficientnet_lite0" else []
    return dict.fromkeys([*packaged, *tags])


def _top_1(metrics: dict[str, float]) -> float | None:
    return metrics["acc@1"] / 100 if "acc@1" in metrics else None


def _count(library: str, name: str, size: int) -> tuple[int | None, int | None]:
    """Return parameters and multiply-adds, of a network whose tensors have no data."""
    parameters = None
    try:
        model = build_without_data(library, name).eval()
        parameters = sum(parameter.numel() for parameter in model.parameters())
        channels = next(p.shape[1] * getattr(model, "groups", 1) for p in model.parameters() if p.dim() == 4)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.empty(1, channels, size, size, device="meta"))
        return parameters, counter.get_total_flops() // 2
    except Exception as error:  # whatever code of a network does with tensors that have no data
        log.debug("%s: %s", name, error)
        return parameters, None
