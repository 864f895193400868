"""The named tensors in a file of weights: out of what wraps them, under the network's own names, without the head.

No code in a file is run. What is not taken of a file is said, and what does not fit is listed.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from tlft.errors import TlftError

log = logging.getLogger(__name__)

_OF_TRAININGS = (
    *("model_state_dict", "net", "network", "ema_state_dict", "ema", "teacher", "student", "module", "weights"),
)
ENTRIES = ("state_dict", "model", *_OF_TRAININGS, "state_dict_ema", "model_ema")
"""Under which a training's checkpoint may hold tensors; the first that is there counts."""

ENTRIES_OF_TIMM = ("state_dict_ema", "model_ema", "state_dict", "model", *_OF_TRAININGS)
"""The same in timm's order, which prefers averaged weights."""

_PREFIXES = (
    *("module", "_orig_mod", "model", "net", "network", "backbone", "encoder", "base_encoder", "encoder_q"),
    *("teacher", "student", "trunk", "visual", "ema_model", "online_network", "0"),
)
"""What wrappers put before the names of a network: DDP, torch.compile, Lightning, self-supervised trainings."""

_LISTED = 4


def load_state(path: Path, entries: Sequence[str] = ENTRIES) -> dict[str, Tensor]:
    """Load named tensors from a safetensors file, or from a torch file without running any code in it.

    A training's checkpoint may hold them under some of the `entries`, also one within another.

    Raises:
        TlftError: if the file holds anything else.
    """
    if kind := _foreign_kind(path):
        raise TlftError(f"{path}: is no file of weights but {kind}")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        with warnings.catch_warnings(record=True):  # of what is refused here
            loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise TlftError(f"{path}: is no file of weights ({_reason(error)}); fetch it again, or name another") from None
    found = _states_in(loaded, entries)
    if not found:
        there = f"; it has {', '.join(map(str, list(loaded)[:6]))}" if isinstance(loaded, dict) and loaded else ""
        raise TlftError(f"{path}: holds no state dict (named tensors){there}; save model.state_dict()")
    if len(found) > 1:
        log.info("%s: of its entries %s the first is taken", path.name, ", ".join(found))
    return dict(next(iter(found.values())))


def _states_in(loaded: Any, entries: Sequence[str]) -> dict[str, dict[str, Tensor]]:
    """Return the dictionaries of nothing but tensors by the entries that lead to them, in the order of these."""
    if not isinstance(loaded, dict) or not loaded:
        return {}
    if all(isinstance(value, Tensor) for value in loaded.values()):
        return {"": loaded}
    return {
        f"{entry}.{place}".removesuffix("."): state
        for entry in entries
        for place, state in _states_in(loaded.get(entry), entries).items()
    }


def _foreign_kind(path: Path) -> str:
    """Say what a file is that people take for weights, by its first bytes, with its mend; nothing for any other."""
    try:
        with path.open("rb") as file:
            begin = file.read(512)
    except OSError as error:
        raise TlftError(f"{path}: cannot be read ({error.strerror})") from None
    if begin.startswith(b"version https://git-lfs"):
        return "a Git-LFS pointer to it; `git lfs pull` fetches the file"
    if re.match(rb"\s*<(!doctype|html|\?xml)", begin, re.IGNORECASE):
        return "a web page, perhaps of a site that asks to log in; fetch the file itself"
    return "" if begin else "empty; fetch it again"


def _reason(error: Exception) -> str:
    text = str(error)
    if "torch.jit" in text or "TorchScript" in text:
        return "it is a TorchScript archive: load it with torch.jit.load and save model.state_dict()"
    match = re.search(r"GLOBAL ([\w.]+) was not an allowed global", text)
    if match and not match[1].startswith(("collections.", "builtins.", "__builtin__.")):
        return f"it holds Python objects ({match[1]}), perhaps a whole model: save model.state_dict() where it was made"
    if "weights only" in text.lower():
        return "it holds Python objects, or no tensors at all"
    return text.partition("\n")[0].partition(". ")[0][:160]


def strip_prefix(state: Mapping[str, Tensor], expected: Iterable[str], path: Path) -> dict[str, Tensor]:
    """Return tensors without what a wrapper put before the names of the network, which `expected` are.

    Of the prefixes that are there the one is taken with which the most names are the network's; none, if none helps.
    What stands beside it, such as the projection of a self-supervised training, is left out, and said.
    """
    names = set(expected)
    counts = Counter(
        {prefix: sum(name.removeprefix(prefix) in names for name in _below(state, prefix)) for prefix in _found(state)}
    )
    best = max(counts, key=lambda prefix: (counts[prefix], -len(prefix)))
    if not best or not counts[best]:
        return dict(state)
    beside = [name for name in state if not name.startswith(best)]
    if beside:
        log.info("%s: what is under %r is taken; left out beside it: %s", path.name, best, _list(beside))
    return {name.removeprefix(best): state[name] for name in _below(state, best)}


def _below(state: Mapping[str, Tensor], prefix: str) -> list[str]:
    return [name for name in state if name.startswith(prefix)]


def _found(state: Mapping[str, Tensor]) -> list[str]:
    """Return the prefixes that some names have, one wrapper within another too, and the empty one."""
    prefixes = {""}
    for name in state:
        parts = name.split(".")[:-1]
        for count in range(1, len(parts) + 1):
            if parts[count - 1] not in _PREFIXES:
                break
            prefixes.add(".".join(parts[:count]) + ".")
    return sorted(prefixes)


def replace_classifier(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], heads: Sequence[str], path: Path
) -> dict[str, Tensor]:
    """Return tensors with the network's own classifier in place of the file's, which is not needed under a new head.

    Args:
        state: of the file.
        expected: of the network.
        heads: names of the classifier's layers.
        path: the file, to say it of.
    """
    own, theirs = tensors_of(heads, expected), tensors_of(heads, state)
    if {name: tensor.shape for name, tensor in theirs.items()} != {name: tensor.shape for name, tensor in own.items()}:
        if theirs:
            log.info("%s: its classifier is left out, since the head is new: %s", path.name, _describe(theirs))
        else:
            log.info("%s: has no classifier, and needs none, since the head is new", path.name)
    return {name: tensor for name, tensor in state.items() if name not in theirs} | own


def tensors_of(layers: Iterable[str], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of some layers, by the names of these, among those of a network."""
    prefixes = tuple(f"{layer}." for layer in layers)
    return {name: tensor for name, tensor in state.items() if name.startswith(prefixes)}


def spread_grey(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return tensors with the first convolution of a network of grey images spread over the three colours.

    Each colour gets a third of its weights, as timm's `adapt_input_conv` spreads channels, so that of a grey image the
    network says what it said.
    """
    spread = {
        name: tensor.repeat(1, 3, 1, 1) / 3
        for name, tensor in state.items()
        if name in expected
        and tensor.dim() == 4
        and tensor.is_floating_point()
        and expected[name].shape == (tensor.shape[0], 3, *tensor.shape[2:])
        and tensor.shape[1] == 1
    }
    if spread:
        log.info(
            "%s: is of grey images; its first weights are spread over three colours: %s", path.name, _list([*spread])
        )
    return {**state, **spread}


def misfits(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """Say what of a file does not fit a network, by name and shape; nothing if all does."""
    needed = {name: tensor for name, tensor in expected.items() if not name.endswith("num_batches_tracked")}
    missing = [name for name in needed if name not in state]
    others = {name: state[name] for name in state if name not in expected}
    shapes = [
        f"{name} {_shape(state[name])} for {_shape(tensor)}"
        for name, tensor in needed.items()
        if name in state and state[name].shape != tensor.shape
    ]
    parts = []
    if missing:
        parts.append(f"{len(missing)} of {len(needed)} tensors are missing: {_list(missing)}")
    if shapes:
        parts.append(f"of another shape: {_list(shapes)}")
    if others:
        parts.append(f"not in the network: {_describe(others)}")
    return "; ".join(parts)


def _describe(tensors: Mapping[str, Tensor]) -> str:
    return _list([f"{name} {_shape(tensor)}" for name, tensor in tensors.items()])


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _list(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - _LISTED} more" if len(texts) > _LISTED else ""
    return ", ".join(texts[:_LISTED]) + more
