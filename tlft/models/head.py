"""The classifier of a network: which layer it is, and how it is replaced."""

from __future__ import annotations

from torch import nn

from tlft.errors import ConfigurationError


def head_name(model: nn.Module) -> str:
    """Return the name of the classifier layer: the one that timm names, else the last linear or 1x1 layer."""
    timm_name = (getattr(model, "pretrained_cfg", None) or {}).get("classifier")
    classifier = dict(model.named_modules()).get(timm_name) if isinstance(timm_name, str) else None
    if isinstance(classifier, nn.Linear | nn.Conv2d):
        return str(timm_name)
    if isinstance(classifier, nn.Identity):
        raise ConfigurationError(
            f"{type(model).__name__}: was trained without classes, so it has no classifier layer to replace; choose "
            "another arch.name"
        )
    layers: list[str] = [name for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    if not layers or isinstance(timm_name, tuple | list):
        raise ConfigurationError(f"{type(model).__name__}: has no single classifier layer; choose another arch.name")
    return layers[-1]


def replace_head(model: nn.Module, num_classes: int) -> None:
    """Replace exactly the classifier layer by one of `num_classes` outputs with PyTorch's default initialisation.

    timm's own for two classes is +-0.7 in each weight: fine-tuned by the reference recipe, EfficientNet-Lite0 then fits
    the training images within an epoch and never gets beyond 86 % on the others.
    """
    name = head_name(model)
    layer = model.get_submodule(name)
    head: nn.Module
    if isinstance(layer, nn.Linear):
        head = nn.Linear(layer.in_features, num_classes, bias=layer.bias is not None)
    else:
        assert isinstance(layer, nn.Conv2d)
        head = nn.Conv2d(layer.in_channels, num_classes, kernel_size=1, bias=layer.bias is not None)
    model.set_submodule(name, head)
    if hasattr(model, "num_classes"):
        model.num_classes = num_classes  # type: ignore[assignment]
