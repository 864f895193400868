"""Which parts of a network are trained: its stages, and what is frozen."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from itertools import chain

import torch
from torch import Tensor, nn

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
    for module in _frozen_parts(model):
        module.eval()


def _frozen_parts(model: nn.Module) -> list[nn.Module]:
    """Return the largest parts that have parameters, none of which is trained."""
    parameters = list(model.parameters())
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        return [model]
    return [part for child in model.children() for part in _frozen_parts(child)]


def changing_state(model: nn.Module) -> dict[str, Tensor]:
    """Return of the model's state what training may change: trained parameters, and buffers of parts not frozen."""
    unchanging = {id(tensor) for part in _frozen_parts(model) for tensor in (*part.parameters(), *part.buffers())}
    unchanging |= {id(parameter) for parameter in model.parameters() if not parameter.requires_grad}
    tensors = model.state_dict(keep_vars=True)
    return {name: tensor.detach() for name, tensor in tensors.items() if id(tensor) not in unchanging}


def copy_state(model: nn.Module, names: Container[str]) -> dict[str, Tensor]:
    """Return copies of the tensors of a model that have some names in its state, for `put_state`."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items() if name in names}


def put_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put tensors into a model where they lie, by their names in its state; what is not named stays.

    Raises:
        KeyError: if the model has no such tensor.
        RuntimeError: if one has another shape.
    """
    tensors = model.state_dict(keep_vars=True)
    with torch.no_grad():
        for name, tensor in state.items():
            tensors[name].copy_(tensor)
