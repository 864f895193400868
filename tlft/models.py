"""Build a network from its name, its weights and its head; say which of its parts are trained.

How it is trained is training.py's business.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tlft.config.schema import Config
from tlft.errors import ConfigurationError, TlftError
from tlft.runtime.seeds import derive_seed
from tlft.weights import LITE0, Weights, fetch_weights


def build_model(config: Config, weights: Weights, num_classes: int) -> nn.Module:
    """Build the network with its weights and head; parameters that are not trained do not require gradients.

    Whatever ran before in the process, the same seed gives the same initial weights, and the global random state is
    left as it was.

    Args:
        config: the run.
        weights: where the weights are; they are fetched if they are not on disk.
        num_classes: outputs of a new head; the 1000-class head is kept as it is.

    Raises:
        TlftError: if the weights cannot be fetched or do not fit.
    """
    with _random_state(derive_seed(config.seed, "weights")):
        model = _build_untrained(config.arch.library, config.arch.name)
        _drop_auxiliary_heads(model)
    if config.model.name == "pretrained":
        _load_weights(model, config, weights, fetch_weights(weights))
        if config.arch.bn_momentum is not None:
            _set_bn_momentum(model, config.arch.bn_momentum)
    if config.head.name == "task":
        with _random_state(derive_seed(config.seed, "head")):
            replace_head(model, num_classes)
    elif weights.spec.num_classes != 1000:
        raise ConfigurationError(
            f"head=imagenet1k arch.name={config.arch.name}: its weights have {weights.spec.num_classes} outputs, not "
            "the 1000 of ImageNet; choose other weights with model.weights, or head=task"
        )
    freeze(model, config.trainable)
    return model.to(memory_format=torch.channels_last)


def _set_bn_momentum(model: nn.Module, momentum: float) -> None:
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = momentum


def build_from_description(
    library: str, name: str, num_classes: int, head: str, state: Mapping[str, Tensor]
) -> nn.Module:
    """Build a trained network again from what was kept of it, ready to evaluate."""
    model = _build_untrained(library, name)
    _drop_auxiliary_heads(model)
    if head == "task":
        replace_head(model, num_classes)
    model.load_state_dict(dict(state))
    return model.to(memory_format=torch.channels_last).eval()


@contextmanager
def _random_state(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _build_untrained(library: str, name: str) -> nn.Module:
    if library == "torchvision":
        from torchvision.models import get_model

        extra = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
        model: nn.Module = get_model(name, weights=None, **extra)
        return model
    import timm

    built: nn.Module = timm.create_model(name, pretrained=False)
    return built


def _drop_auxiliary_heads(model: nn.Module) -> None:
    """Take out the second and third classifier of the Inception networks; the last layer alone is the head."""
    if getattr(model, "aux_logits", False):
        model.aux_logits = False  # type: ignore[assignment]
        for name in ("AuxLogits", "aux1", "aux2"):
            if hasattr(model, name):
                setattr(model, name, None)


def _load_weights(model: nn.Module, config: Config, weights: Weights, path: Path) -> None:
    if weights.spec.package == LITE0 and config.model.weights_file is None:
        state = _in_order(load_state(path), model)
    elif config.arch.library == "timm":
        state = _loaded_by_timm(path, config.arch.name, "" if weights.spec.package else weights.spec.name)
    else:
        state = load_state(path)
        if config.arch.name.startswith("densenet"):
            state = {_densenet_key(key): value for key, value in state.items()}
        state = {key: value for key, value in state.items() if not key.startswith(("AuxLogits.", "aux1.", "aux2."))}
    problem = _misfit(state, model.state_dict())
    if problem:
        raise TlftError(f"{path}: does not fit {config.arch.name}: {problem}; name other weights or another arch")
    model.load_state_dict(state, strict=False)  # num_batches_tracked may be missing; _misfit saw to all else


def load_state(path: Path) -> dict[str, Tensor]:
    """Load named tensors from a safetensors file, or from a torch file without running any code in it.

    Raises:
        TlftError: if the file holds anything else.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).partition("\n")[0].partition(". ")[0][:160]
        if "weights only" in reason.lower():
            reason = "it holds Python objects, or no tensors at all"
        raise TlftError(f"{path}: is no file of weights ({reason}); fetch it again, or name another") from None
    for key in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise TlftError(f"{path}: holds no state dict (named tensors); save model.state_dict()")
    return dict(loaded)


def _in_order(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Give tensors the names of the model's, one after the other: the file names its layers differently.

    timm's EfficientNet-Lite0 holds the layers in the order of the original implementation.
    """
    ours = [key for key in model.state_dict() if not key.endswith("num_batches_tracked")]
    theirs = [value for key, value in state.items() if not key.endswith("num_batches_tracked")]
    if len(ours) != len(theirs):
        raise TlftError(f"{LITE0}: the file has {len(theirs)} tensors, the network {len(ours)}; install version 0.1")
    return dict(zip(ours, theirs, strict=True))


def _loaded_by_timm(path: Path, name: str, tag: str) -> dict[str, Tensor]:
    """Let timm read the file, since it knows the spellings that its networks' files have had."""
    import timm

    overlay = {"file": str(path), "custom_load": path.suffix == ".npz"}
    try:
        with _random_state(0):
            loaded: nn.Module = timm.create_model(
                f"{name}.{tag}" if tag else name, pretrained=True, pretrained_cfg_overlay=overlay
            )
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise TlftError(f"{path}: does not fit {name} ({reason}); name other weights or another arch") from None
    return dict(loaded.state_dict())


def _densenet_key(key: str) -> str:
    """Spell a key as current DenseNets do: the published files hold `norm.1` where modules are named `norm1`."""
    return re.sub(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.((?:[12])\.(?:\w+))$", r"\1\2", key)


def _misfit(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    for key, tensor in expected.items():
        if key not in state:
            if key.endswith("num_batches_tracked"):
                continue
            return f"{key} is missing"
        if state[key].shape != tensor.shape:
            return f"{key} has shape {tuple(state[key].shape)}, expected {tuple(tensor.shape)}"
    unexpected = [key for key in state if key not in expected]
    return f"{unexpected[0]} is not in the network" if unexpected else ""


def head_name(model: nn.Module) -> str:
    """Return the name of the classifier layer: the one that timm names, else the last linear or 1x1 layer."""
    named = (getattr(model, "pretrained_cfg", None) or {}).get("classifier")
    classifier = dict(model.named_modules()).get(named) if isinstance(named, str) else None
    if isinstance(classifier, nn.Linear | nn.Conv2d):
        return str(named)
    if isinstance(classifier, nn.Identity):
        raise ConfigurationError(
            f"{type(model).__name__}: was trained without classes, so it has no classifier layer to replace; choose "
            "another arch.name"
        )
    layers: list[str] = [name for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    if not layers or isinstance(named, tuple | list):
        raise ConfigurationError(f"{type(model).__name__}: has no single classifier layer; choose another arch.name")
    return layers[-1]


def replace_head(model: nn.Module, num_classes: int) -> None:
    """Replace exactly the classifier layer by one of `num_classes` outputs with PyTorch's default initialisation.

    timm's own for two classes is +-0.7 in each weight: fine-tuned by the reference recipe, EfficientNet-Lite0 then fits
    the training images within an epoch and never gets beyond 86 % on the others.
    """
    name = head_name(model)
    parent = model.get_submodule(name.rpartition(".")[0])
    old = model.get_submodule(name)
    new: nn.Module
    if isinstance(old, nn.Linear):
        new = nn.Linear(old.in_features, num_classes, bias=old.bias is not None)
    else:
        assert isinstance(old, nn.Conv2d)
        new = nn.Conv2d(old.in_channels, num_classes, kernel_size=1, bias=old.bias is not None)
    setattr(parent, name.rpartition(".")[2], new)
    if hasattr(model, "num_classes"):
        model.num_classes = num_classes  # type: ignore[assignment]


_WRAPPERS = ("encoder", "trunk", "backbone")
_SEQUENCES = ("features", "blocks", "layers", "stages")


def stages(model: nn.Module) -> list[list[str]]:
    """Return the names of the backbone's modules with weights, grouped into stages from input to output.

    A stage is a direct part of the network, such as `layer4` of a ResNet, or a part of what the libraries call
    `features`, `blocks`, `layers` or `stages`. A normalisation belongs to the stage before it.
    """
    head = head_name(model)

    def parts(prefix: str, module: nn.Module) -> Iterator[str]:
        for child_name, child in module.named_children():
            name = f"{prefix}{child_name}"
            weights = [key for key, _ in child.named_parameters() if not f"{name}.{key}".startswith(f"{head}.")]
            if child_name in _WRAPPERS or (
                child_name in _SEQUENCES and not prefix.removesuffix(".").endswith(_SEQUENCES)
            ):
                yield from parts(f"{name}.", child)
            elif weights:
                yield name

    grouped: list[list[str]] = []
    for name in parts("", model):
        is_norm = "norm" in type(model.get_submodule(name)).__name__.lower()
        if is_norm and grouped:
            grouped[-1].append(name)
        else:
            grouped.append([name])
    return grouped


def freeze(model: nn.Module, trainable: str) -> None:
    """Let only the named part require gradients.

    Args:
        model: is changed in place.
        trainable: `all`, `head`, `none`, or a number N: the head and the last N stages.

    Raises:
        ConfigurationError: if the backbone has fewer stages.
    """
    if trainable in ("all", "none"):
        model.requires_grad_(trainable == "all")
        return
    model.requires_grad_(False)
    model.get_submodule(head_name(model)).requires_grad_(True)
    count = 0 if trainable == "head" else int(trainable)
    backbone = stages(model)
    if count > len(backbone):
        raise ConfigurationError(
            f"training.trainable={count}: the backbone has {len(backbone)} stages; give at most that, or all"
        )
    for names in backbone[len(backbone) - count :]:
        for name in names:
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


def summarize(model: nn.Module, crop: int) -> str:
    """List every layer with its output shape (for one image), its parameters, and whether it is trained."""
    rows: list[tuple[str, str, str, str, str]] = []
    hooks = []

    def remember(name: str, module: nn.Module) -> None:
        def hook(_: nn.Module, __: object, output: object) -> None:
            shape = "x".join(str(n) for n in output.shape[1:]) if isinstance(output, Tensor) else "-"
            own = list(module.parameters())
            trained = "-" if not own else "trained" if any(p.requires_grad for p in own) else "frozen"
            rows.append((name, type(module).__name__, shape, f"{sum(p.numel() for p in own):,}", trained))

        hooks.append(module.register_forward_hook(hook))

    for name, module in model.named_modules():
        if name and not any(True for _ in module.children()):
            remember(name, module)
    was_training = model.training
    device = next(model.parameters()).device
    with torch.inference_mode():
        model.eval()(torch.zeros(1, 3, crop, crop, device=device))
    for hook in hooks:
        hook.remove()
    if was_training:
        set_training_mode(model)
    header = ("layer", "type", "output", "parameters", "state")
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [header, *rows]]
    total = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return "\n".join([line.rstrip() for line in lines] + ["", f"{total:,} parameters, {trained:,} of them trained", ""])
