"""Build a network from its name, the tensors in a file of weights, and its head; training is not known here."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tlft.config.schema import Config
from tlft.errors import ConfigurationError, TlftError, one_line
from tlft.models.copies import Original
from tlft.models.freeze import freeze, set_training_mode
from tlft.models.head import head_names, replace_head
from tlft.models.ladder import draw_by_moments, shuffle_values, take_first_stages
from tlft.models.memory_order import to_channels_last
from tlft.models.network import AUXILIARY, Options, build_network, options_of
from tlft.models.spec import LITE0
from tlft.models.tensors import (
    ENTRIES,
    ENTRIES_OF_TIMM,
    load_state,
    misfits,
    replace_classifier,
    spread_grey,
    strip_prefix,
    tensors_of,
)
from tlft.models.weights import Weights, fetch_weights, say_other_outputs
from tlft.runtime.seeds import derive_seed

_AUXILIARY_TENSORS = tuple(f"{name}." for name in AUXILIARY)


def build_model(config: Config, weights: Weights, num_classes: int) -> nn.Module:
    """Build the network with its weights and head; parameters that are not trained do not require gradients.

    Whatever ran before in the process, the same seed gives the same initial weights, and the global random state is
    left as it was. Weights that are not on disk are fetched; a 1000-class head is kept as it is.

    Raises:
        ConfigurationError: if the weights do not fit, or the network cannot be what is asked of it.
        TlftError: if the weights cannot be fetched, or their file holds none.
    """
    model = _start(config, weights)
    for module in model.modules() if config.model.name == "pretrained" else ():
        if config.arch.bn_momentum is not None and isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = config.arch.bn_momentum
    if config.head.name == "task":
        with _random_state(derive_seed(config.seed, "head")):
            replace_head(model, num_classes)
        if config.model.keep_head:
            _load_head(model, config, weights)
    elif weights.spec.num_classes != 1000:
        raise ConfigurationError(say_other_outputs(config.arch.name, weights.spec))
    freeze(model, config.training.trainable)
    for key in ("data.image_size", "training.image_size"):
        if (size := attrgetter(key)(config)) is not None:
            _refuse_other_sizes(model, config.arch.name, key, size)
    if config.training.batch_size == 1 and config.training.trainable != "none":
        _refuse_lone_images(model, config.arch.name, config.training.image_size or weights.transform.crop)
    return to_channels_last(model)


def _start(config: Config, weights: Weights) -> nn.Module:
    """Return the network with its first weights: pretrained, random, or on a rung between (see ladder.py)."""
    if config.model.name == "pretrained" and config.model.stages is None:
        return _pretrained(config, weights)
    with _random_state(derive_seed(config.seed, "weights")):
        model = build_network(config.arch.library, config.arch.name, options_of(config, weights.spec.transform.crop))
    if config.model.name == "moments":
        draw_by_moments(model, _pretrained(config, weights), derive_seed(config.seed, "moments"))
    elif config.model.name == "shuffled":
        shuffle_values(model, _pretrained(config, weights), derive_seed(config.seed, "shuffled"))
    elif config.model.stages is not None:
        take_first_stages(model, _pretrained(config, weights), config.model.stages)
    return model


_latest: dict[tuple[object, ...], Original] = {}
"""The network that was last loaded from a file, untouched, for the next run of this process: most are of one."""

_MOST_KEPT = 500_000_000


def _pretrained(config: Config, weights: Weights) -> nn.Module:
    """Return the network with its pretrained weights; a copy, where the run before had the same."""
    own = (str(weights.path), config.head.name) if weights.is_own else ()  # whose classifier may not be loaded
    options = options_of(config, weights.spec.transform.crop)
    key = (config.arch.library, config.arch.name, options, weights.digest, weights.spec.package, *own)
    if key not in _latest:
        _latest.clear()
        with _random_state(0):  # every weight is loaded
            model = build_network(config.arch.library, config.arch.name, options)
        _load_weights(model, config, weights)
        if sum(tensor.nbytes for tensor in model.state_dict().values()) > _MOST_KEPT:
            return model
        _latest[key] = Original(model)
    return _latest[key].copy()


def _refuse_other_sizes(model: nn.Module, name: str, key: str, size: int) -> None:
    """Raise ConfigurationError if the network takes no images of this size, as some take those of one size alone."""
    model.eval()
    try:
        with torch.no_grad():
            model(torch.zeros(1, 3, size, size))
    except Exception as error:  # whatever its code raises
        raise ConfigurationError(
            f"{key}={size}: {name} does not take images of this size ({one_line(error, 150)}); leave it out, "
            "or choose another"
        ) from None


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
    options = Options(any_size=description.get("any_size", False))  # of which an earlier version knew nothing
    model = build_network(description["library"], description["arch"], options)
    if description["head"] == "task":
        replace_head(model, len(description["classes"]))
    model.load_state_dict(load_state(path))
    return to_channels_last(model).eval()


@contextmanager
def _random_state(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _load_weights(model: nn.Module, config: Config, weights: Weights) -> None:
    path, expected = fetch_weights(weights), model.state_dict()
    if weights.spec.package == LITE0 and not weights.is_own:
        state = _match_by_order(load_state(path), model)
    elif path.suffix == ".npz":
        if config.arch.library != "timm" or not hasattr(model, "load_pretrained"):  # timm would leave them at random
            raise ConfigurationError(
                f"{path}: {config.arch.name} takes no NumPy archive; name a .safetensors or .pth file"
            )
        state = _spelled_by_timm(path, None, config.arch.name, weights, expected)
    else:
        state = _read(path, config, weights, expected)
        if weights.is_own and config.head.name == "task":
            state = replace_classifier(state, expected, head_names(model), path)
        if weights.is_own:
            state = spread_grey(state, expected, path)
        if config.arch.library == "timm" and not (weights.is_own and not misfits(state, expected)):
            state = _spelled_by_timm(path, state, config.arch.name, weights, expected)
    if not weights.spec.num_classes and not weights.is_own:  # of a network that was trained without classes
        state = replace_classifier(state, expected, head_names(model), path)
    if problem := misfits(state, expected):
        raise ConfigurationError(
            f"{path}: does not fit {config.arch.name}: {problem}; name other weights or another arch"
        )
    model.load_state_dict(state, strict=False)  # num_batches_tracked may be missing; `misfits` saw to all else


def _read(path: Path, config: Config, weights: Weights, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a file by the network's names, as far as its library's files are spelled so."""
    state = load_state(path, ENTRIES_OF_TIMM if config.arch.library == "timm" else ENTRIES)
    if config.arch.library == "torchvision" and config.arch.name.startswith("densenet"):
        # Published files hold `norm.1` where modules are named `norm1`.
        pattern = r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.\w+)$"
        state = {re.sub(pattern, r"\1\2", key): value for key, value in state.items()}
    if weights.is_own:
        state = strip_prefix(state, expected, path)
    if config.arch.library == "torchvision":
        state = {name: tensor for name, tensor in state.items() if not name.startswith(_AUXILIARY_TENSORS)}
    return state


def _load_head(model: nn.Module, config: Config, weights: Weights) -> None:
    """Give the new head the weights of the classifier in a file (`model.keep_head`)."""
    path, expected, heads = fetch_weights(weights), model.state_dict(), head_names(model)
    theirs = tensors_of(heads, _read(path, config, weights, expected))
    if problem := misfits(theirs, tensors_of(heads, expected)):
        raise ConfigurationError(
            f"model.keep_head=true: the classifier in {path} is not that of the run ({problem}); "
            "set model.keep_head=false for a new one"
        )
    model.load_state_dict(theirs, strict=False)


def _match_by_order(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Give tensors the names of the model's, one after the other: the file names its layers differently.

    timm's EfficientNet-Lite0 holds the layers in the order of the original implementation.
    """
    names = [key for key in model.state_dict() if not key.endswith("num_batches_tracked")]
    tensors = [value for key, value in state.items() if not key.endswith("num_batches_tracked")]
    if len(names) != len(tensors):
        raise TlftError(f"{LITE0}: the file has {len(tensors)} tensors, the network {len(names)}; install version 0.1")
    return dict(zip(names, tensors, strict=True))


def _spelled_by_timm(
    path: Path, state: dict[str, Tensor] | None, name: str, weights: Weights, expected: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Let timm spell tensors as its network does, since it knows how the files of its networks spelled them once.

    It gets tensors and no file: in many versions (1.0.9 to 1.0.24 at least) it runs the code that a pickled file may
    hold. NumPy's archives, which are read without (`allow_pickle=False`), are left to the networks that know them.
    """
    import timm

    overlay: dict[str, Any] = {"file": str(path), "custom_load": True}
    if state is not None:
        overlay = {"state_dict": timm.models.clean_state_dict(state), "custom_load": False}
    tag = "" if weights.spec.package else weights.spec.name
    try:
        with torch.random.fork_rng(devices=[]):
            loaded: nn.Module = timm.create_model(
                f"{name}.{tag}" if tag else name, pretrained=True, pretrained_cfg_overlay=overlay
            )
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        if weights.is_own and state is not None:  # by name and shape
            reason = misfits(state, expected) or reason
        raise ConfigurationError(
            f"{path}: does not fit {name} ({reason}); name other weights or another arch"
        ) from None
    return dict(loaded.state_dict())
