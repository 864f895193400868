"""Build a network from its name, its weights and its head; how it is trained is not known here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from tlft.config.schema import Config
from tlft.errors import ConfigurationError
from tlft.models.freeze import freeze
from tlft.models.head import replace_head
from tlft.models.state_dict import load_weights
from tlft.models.weights import Weights
from tlft.runtime.seeds import derive_seed


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
        model = build_network(config.arch.library, config.arch.name)
    if config.model.name == "pretrained":
        load_weights(model, config, weights)
        if config.arch.bn_momentum is not None:
            for module in model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.momentum = config.arch.bn_momentum
    if config.head.name == "task":
        with _random_state(derive_seed(config.seed, "head")):
            replace_head(model, num_classes)
    elif weights.spec.num_classes != 1000:
        raise ConfigurationError(
            f"head=imagenet1k arch.name={config.arch.name}: its weights have {weights.spec.num_classes} outputs, not "
            "the 1000 of ImageNet; choose other weights with model.weights, or head=task"
        )
    freeze(model, config.training.trainable)
    return model.to(memory_format=torch.channels_last)


def build_from_description(
    library: str, name: str, num_classes: int, head: str, state: Mapping[str, Tensor]
) -> nn.Module:
    """Build a trained network again from what was kept of it, ready to evaluate."""
    model = build_network(library, name)
    if head == "task":
        replace_head(model, num_classes)
    model.load_state_dict(dict(state))
    return model.to(memory_format=torch.channels_last).eval()


@contextmanager
def _random_state(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def build_network(library: str, name: str) -> nn.Module:
    """Build a network with random weights and its 1000-class head.

    The second and third classifier of the Inception networks are left out: the last layer alone is the head.
    """
    model: nn.Module
    if library == "torchvision":
        from torchvision.models import get_model

        options = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
        model = get_model(name, weights=None, **options)
    else:
        import timm

        model = timm.create_model(name, pretrained=False)
    if getattr(model, "aux_logits", False):
        model.aux_logits = False  # type: ignore[assignment]
        for auxiliary in ("AuxLogits", "aux1", "aux2"):
            if hasattr(model, auxiliary):
                setattr(model, auxiliary, None)
    return model
