"""The classifier of a network: which layers it is, and how they are replaced."""

from __future__ import annotations

from torch import nn

from tlft.errors import ConfigurationError


def head_names(model: nn.Module) -> list[str]:
    """Return the names of the classifier's layers: those that timm names, else the last linear or 1x1 layer.

    Most networks have one. Distilled ones have a second beside it and others one for each of their branches; the
    network itself makes one output of them (timm's mean or weighted sum of the logits), in training as in evaluation.

    Raises:
        ConfigurationError: if the network has no such layer.
    """
    named = (getattr(model, "pretrained_cfg", None) or {}).get("classifier") or ()
    names = [named] if isinstance(named, str) else list(named)
    modules = dict(model.named_modules())
    classifiers = [modules.get(name) for name in names]
    if classifiers and all(isinstance(classifier, nn.Linear | nn.Conv2d) for classifier in classifiers):
        return names
    if any(isinstance(classifier, nn.Identity) for classifier in classifiers):
        raise ConfigurationError(
            f"{type(model).__name__}: was trained without classes, so it has no classifier layer to replace; choose "
            "another arch.name"
        )
    layers = [name for name, module in modules.items() if isinstance(module, nn.Linear | nn.Conv2d)]
    if not layers or len(names) > 1:
        raise ConfigurationError(f"{type(model).__name__}: has no classifier layer; choose another arch.name")
    return layers[-1:]


def replace_head(model: nn.Module, num_classes: int) -> None:
    """Replace exactly the classifier's layers by ones of `num_classes` outputs with PyTorch's default initialisation.

    timm's own for two classes is +-0.7 in each weight: fine-tuned by the reference recipe, EfficientNet-Lite0 then fits
    the training images within an epoch and never gets beyond 86 % on the others.
    """
    for name in head_names(model):
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
