"""Build a network from its name, the tensors in a file of weights, and its head; training is not known here."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tlft.config.schema import Config
from tlft.errors import ConfigurationError, TlftError
from tlft.models.freeze import freeze, set_training_mode
from tlft.models.head import replace_head
from tlft.models.spec import LITE0
from tlft.models.weights import Weights, fetch_weights
from tlft.runtime.seeds import derive_seed


def build_model(config: Config, weights: Weights, num_classes: int) -> nn.Module:
    """Build the network with its weights and head; parameters that are not trained do not require gradients.

    Whatever ran before in the process, the same seed gives the same initial weights, and the global random state is
    left as it was. Weights that are not on disk are fetched; a 1000-class head is kept as it is.

    Raises:
        TlftError: if the weights cannot be fetched or do not fit.
    """
    if config.model.name == "pretrained":
        model = _pretrained(config, weights)
        for module in model.modules():
            if config.arch.bn_momentum is not None and isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.momentum = config.arch.bn_momentum
    else:
        with _random_state(derive_seed(config.seed, "weights")):
            model = build_network(config.arch.library, config.arch.name)
    if config.head.name == "task":
        with _random_state(derive_seed(config.seed, "head")):
            replace_head(model, num_classes)
    elif weights.spec.num_classes != 1000:
        raise ConfigurationError(
            f"head=imagenet1k arch.name={config.arch.name}: its weights have {weights.spec.num_classes} outputs, not "
            "the 1000 of ImageNet; choose other weights with model.weights, or head=task"
        )
    freeze(model, config.training.trainable)
    if config.training.batch_size == 1 and config.training.trainable != "none":
        _refuse_lone_images(model, config.arch.name, weights.transform.crop)
    return model.to(memory_format=torch.channels_last)


_latest: dict[tuple[str | None, ...], nn.Module] = {}
"""The network that was last loaded from a file, untouched, for the next run of this process: most are of one."""

_MOST_KEPT = 500_000_000


def _pretrained(config: Config, weights: Weights) -> nn.Module:
    """Return the network with its pretrained weights; a copy, where the run before had the same."""
    key = (config.arch.library, config.arch.name, weights.digest, weights.spec.package, config.model.weights_file)
    if key not in _latest:
        _latest.clear()
        with _random_state(0):  # every weight is loaded
            model = build_network(config.arch.library, config.arch.name)
        _load_weights(model, config, weights)
        if sum(tensor.nbytes for tensor in model.state_dict().values()) > _MOST_KEPT:
            return model
        _latest[key] = model
    return copy.deepcopy(_latest[key])


def _refuse_lone_images(model: nn.Module, name: str, crop: int) -> None:
    """Raise ConfigurationError if the network cannot be trained on one image at a time, as some batch norms cannot."""
    trial = copy.deepcopy(model)
    set_training_mode(trial)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            trial(torch.zeros(1, 3, crop, crop))
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise ConfigurationError(
            f"training.batch_size=1: {name} normalises over a batch, and cannot be trained on one image; give 2 or more"
        ) from None


def rebuild_model(description: Mapping[str, Any], path: Path) -> nn.Module:
    """Build a trained network again from its description (a run's `model.json`) and its weights, ready to evaluate."""
    model = build_network(description["library"], description["arch"])
    if description["head"] == "task":
        replace_head(model, len(description["classes"]))
    model.load_state_dict(load_state(path))
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
            setattr(model, auxiliary, None)
    return model


def build_without_data(library: str, name: str) -> nn.Module:
    """Build a network whose tensors have shapes and no data, so that it takes neither time nor memory."""
    try:
        with torch.device("meta"):
            model = build_network(library, name)
    except Exception:  # some draw their layers' sizes from tensors
        model = build_network(library, name).to("meta")
    return model.to(memory_format=torch.channels_last)


def _load_weights(model: nn.Module, config: Config, weights: Weights) -> None:
    path = fetch_weights(weights)
    if weights.spec.package == LITE0 and config.model.weights_file is None:
        state = _match_by_order(load_state(path), model)
    elif config.arch.library == "timm":
        if path.suffix == ".npz" and not hasattr(model, "load_pretrained"):  # timm would leave them at random
            raise TlftError(f"{path}: {config.arch.name} takes no NumPy archive; name a .safetensors or .pth file")
        state = _spelled_by_timm(path, config.arch.name, "" if weights.spec.package else weights.spec.name)
    else:
        state = load_state(path)
        if config.arch.name.startswith("densenet"):  # published files hold `norm.1` where modules are named `norm1`
            pattern = r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.\w+)$"
            state = {re.sub(pattern, r"\1\2", key): value for key, value in state.items()}
        state = {key: value for key, value in state.items() if not key.startswith(("AuxLogits.", "aux1.", "aux2."))}
    if problem := _misfit(state, model.state_dict()):
        raise TlftError(f"{path}: does not fit {config.arch.name}: {problem}; name other weights or another arch")
    model.load_state_dict(state, strict=False)  # num_batches_tracked may be missing; _misfit saw to all else


def load_state(path: Path, keys: Sequence[str] = ("state_dict", "model")) -> dict[str, Tensor]:
    """Load named tensors from a safetensors file, or from a torch file without running any code in it.

    A training's checkpoint may hold them under one of the `keys`; the first that is there counts.

    Raises:
        TlftError: if the file holds anything else.
    """
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        with warnings.catch_warnings(record=True):  # of what is refused here
            loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).partition("\n")[0].partition(". ")[0][:160]
        if "weights only" in reason.lower():
            reason = "it holds Python objects, or no tensors at all"
        raise TlftError(f"{path}: is no file of weights ({reason}); fetch it again, or name another") from None
    for key in keys:
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not loaded or not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise TlftError(f"{path}: holds no state dict (named tensors); save model.state_dict()")
    return dict(loaded)


def _match_by_order(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Give tensors the names of the model's, one after the other: the file names its layers differently.

    timm's EfficientNet-Lite0 holds the layers in the order of the original implementation.
    """
    names = [key for key in model.state_dict() if not key.endswith("num_batches_tracked")]
    tensors = [value for key, value in state.items() if not key.endswith("num_batches_tracked")]
    if len(names) != len(tensors):
        raise TlftError(f"{LITE0}: the file has {len(tensors)} tensors, the network {len(names)}; install version 0.1")
    return dict(zip(names, tensors, strict=True))


def _spelled_by_timm(path: Path, name: str, tag: str) -> dict[str, Tensor]:
    """Let timm spell tensors as its network does, since it knows how the files of its networks spelled them once.

    It gets tensors and no file: in many versions (1.0.9 to 1.0.24 at least) it runs the code that a pickled file may
    hold. NumPy's archives, which are read without (`allow_pickle=False`), are left to the networks that know them.
    """
    import timm

    overlay: dict[str, Any] = {"file": str(path), "custom_load": True}
    if path.suffix != ".npz":
        state = load_state(path, ("state_dict_ema", "model_ema", "state_dict", "model"))  # in timm's order
        overlay = {"state_dict": timm.models.clean_state_dict(state), "custom_load": False}
    try:
        with torch.random.fork_rng(devices=[]):
            loaded: nn.Module = timm.create_model(
                f"{name}.{tag}" if tag else name, pretrained=True, pretrained_cfg_overlay=overlay
            )
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise TlftError(f"{path}: does not fit {name} ({reason}); name other weights or another arch") from None
    return dict(loaded.state_dict())


def _misfit(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    for key, tensor in expected.items():
        if key not in state and not key.endswith("num_batches_tracked"):
            return f"{key} is missing"
        if key in state and state[key].shape != tensor.shape:
            return f"{key} has shape {tuple(state[key].shape)}, expected {tuple(tensor.shape)}"
    unexpected = [key for key in state if key not in expected]
    return f"{unexpected[0]} is not in the network" if unexpected else ""
