"""Which parts of a network are trained: its stages, and what is frozen."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from torch import nn

from tlft.errors import ConfigurationError
from tlft.models.head import head_names

_WRAPPERS = ("encoder", "trunk", "backbone")
_SEQUENCES = ("features", "blocks", "layers", "stages")


def stages(model: nn.Module) -> list[list[str]]:
    """Return the names of the backbone's modules with weights, grouped into stages from input to output.

    A stage is a direct part of the network, such as `layer4` of a ResNet, or a part of what the libraries call
    `features`, `blocks`, `layers` or `stages`. A normalisation belongs to the stage before it.
    """
    heads = tuple(f"{name}." for name in head_names(model))

    def parts(prefix: str, module: nn.Module) -> Iterator[str]:
        for child_name, child in module.named_children():
            name = f"{prefix}{child_name}"
            weights = [key for key, _ in child.named_parameters() if not f"{name}.{key}".startswith(heads)]
            if child_name in _WRAPPERS or (
                child_name in _SEQUENCES and not prefix.removesuffix(".").endswith(_SEQUENCES)
            ):
                yield from parts(f"{name}.", child)
            elif weights:
                yield name

    grouped: list[list[str]] = []
    for name in parts("", model):
        if grouped and "norm" in type(model.get_submodule(name)).__name__.lower():
            grouped[-1].append(name)
        else:
            grouped.append([name])
    return grouped


def freeze(model: nn.Module, trainable: str) -> None:
    """Let only a part require gradients: `all`, `head`, `none`, or a number N, the head and the last N stages.

    Raises:
        ConfigurationError: if the backbone has fewer stages.
    """
    if trainable in ("all", "none"):
        model.requires_grad_(trainable == "all")
        return
    model.requires_grad_(False)
    for name in head_names(model):
        model.get_submodule(name).requires_grad_(True)
    count = 0 if trainable == "head" else int(trainable)
    backbone = stages(model)
    if count > len(backbone):
        raise ConfigurationError(
            f"training.trainable={count}: the backbone has {len(backbone)} stages; give at most that, or all"
        )
    for name in chain(*backbone[len(backbone) - count :]):
        model.get_submodule(name).requires_grad_(True)


def set_training_mode(model: nn.Module) -> None:
    """Put the model in training mode, but its frozen parts in evaluation mode.

    Batch norm in a frozen part would otherwise go on averaging, and dropout there would disturb what is kept.
    """
    model.train()
    for module in model.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()
