"""Have a library build a network with random weights and its own classifier; files of weights are not known here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tlft.config.schema import Config
from tlft.errors import ConfigurationError, one_line
from tlft.models.memory_order import to_channels_last

_CLASSES = 1000  # outputs of a head to begin with

AUXILIARY = ("AuxLogits", "aux1", "aux2")
"""The classifiers in the middle of torchvision's GoogLeNet and Inception, which serve their training from scratch."""

_KEYS = {
    **dict.fromkeys(("dropout", "drop_rate"), "training.dropout"),
    **dict.fromkeys(("stochastic_depth_prob", "drop_path_rate"), "training.stochastic_depth"),
}
"""What the libraries call the rates, and what sets them here."""


@dataclass(frozen=True)
class Options:
    """What a network is built with beside its name.

    Attributes:
        dropout, stochastic_depth: rates of its random layers, 0..1; None: its library's own.
        any_size: whether images of other sizes than its own are to be taken, where it must be told: a transformer's
            embedding of positions is then resampled to each image's.
    """

    dropout: float | None = None
    stochastic_depth: float | None = None
    any_size: bool = False


def options_of(config: Config, native: int) -> Options:
    """Return what a configuration asks a network for whose weights are for squares of `native` pixels a side.

    Nothing random where nothing is trained.
    """
    training = config.training
    any_size = any(size not in (None, native) for size in (config.data.image_size, training.image_size))
    if training.trainable == "none":
        return Options(any_size=any_size)
    return Options(training.dropout, training.stochastic_depth, any_size)


def build_network(library: str, name: str, options: Options | None = None) -> nn.Module:
    """Build a network with random weights and its 1000-class head.

    The second and third classifier of the Inception networks are left out: the last layer alone is the head.

    Raises:
        ConfigurationError: if the network has no layers of which the options give the rate.
    """
    options = options or Options()
    try:
        model = (_from_torchvision if library == "torchvision" else _from_timm)(name, options)
    except TypeError as error:
        refused = next((key for argument, key in _KEYS.items() if f"'{argument}'" in str(error)), None)
        if refused is None:
            raise
        raise _refusal(refused, name, one_line(error, 120)) from None
    if getattr(model, "aux_logits", False):
        model.aux_logits = False  # type: ignore[assignment]
        for auxiliary in AUXILIARY:
            setattr(model, auxiliary, None)
    if options.dropout and options.dropout not in set(_dropout_rates(model)):
        raise _refusal("training.dropout", name, "no layer has taken the rate")
    if options.stochastic_depth and not any(map(_depth_rate, model.modules())):
        raise _refusal("training.stochastic_depth", name, "no layer has taken the rate")
    return model


def _refusal(key: str, name: str, reason: str) -> ConfigurationError:
    return ConfigurationError(f"{key}: {name} has none to set ({reason}); leave it out, or choose another network")


def _from_torchvision(name: str, options: Options) -> nn.Module:
    from torchvision.models import get_model

    arguments: dict[str, Any] = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    if options.dropout is not None:
        arguments["drop_rate" if name.startswith("densenet") else "dropout"] = options.dropout
    takes_no_rate = name.startswith(("swin", "maxvit"))  # whose builders give one themselves
    if options.stochastic_depth is not None and not takes_no_rate:
        arguments["stochastic_depth_prob"] = options.stochastic_depth
    model: nn.Module = get_model(name, weights=None, **arguments)
    if options.stochastic_depth is not None and takes_no_rate:
        _scale_depth_rates(model, options.stochastic_depth)
    return model


def _scale_depth_rates(model: nn.Module, rate: float) -> None:
    """Give a network the rates that rise from zero to `rate`, of which it has others (their last is their largest)."""
    layers = [layer for layer in model.modules() if type(layer).__name__ == "StochasticDepth"]
    largest = max(map(_depth_rate, layers), default=0.0)
    for layer in layers:
        layer.p = _depth_rate(layer) * rate / largest  # type: ignore[assignment]


def _from_timm(name: str, options: Options) -> nn.Module:
    import timm

    given = {"drop_rate": options.dropout, "drop_path_rate": options.stochastic_depth}
    arguments: dict[str, Any] = {argument: rate for argument, rate in given.items() if rate is not None}
    model: nn.Module | None = None
    if options.any_size:
        with suppress(TypeError):  # most have no size of their own, and no such argument
            model = timm.create_model(name, pretrained=False, dynamic_img_size=True, **arguments)
    if model is None:
        model = timm.create_model(name, pretrained=False, **arguments)
    if getattr(model, "num_classes", None) == 0:  # trained without classes, as by DINO or CLIP
        model.reset_classifier(_CLASSES)  # type: ignore[operator]
    return model


def _dropout_rates(model: nn.Module) -> Iterator[float]:
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            yield module.p
        elif isinstance(rate := getattr(module, "drop_rate", None), float):  # of one that calls a function
            yield rate


def _depth_rate(layer: nn.Module) -> float:
    """Return with which probability a layer leaves out what it is given, as torchvision and timm call that."""
    names = {"StochasticDepth": "p", "DropPath": "drop_prob"}
    return float(getattr(layer, names.get(type(layer).__name__, ""), 0.0) or 0.0)


def build_without_data(library: str, name: str) -> nn.Module:
    """Build a network whose tensors have shapes and no data, so that it takes neither time nor memory."""
    try:
        with torch.device("meta"):
            model = build_network(library, name)
    except Exception:  # some draw their layers' sizes from tensors
        model = build_network(library, name).to("meta")
    return to_channels_last(model)
