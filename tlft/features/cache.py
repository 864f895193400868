"""Have the frozen part of a network look at each image once: what it says is kept, and shared by all runs.

A folder of `cache/features/` is for one frozen part: these weights and this transform, up to one border, computed by
one kind of machine. In it is a record for each image, by the SHA-256 of its file, and one for its mirror image; beside
them stands what they are of, and where the border is.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tlft.config.schema import Config
from tlft.data.batches import Images, Split
from tlft.errors import TlftError
from tlft.features.border import Border, FailedTrialError, UncuttableError, find_border, from_border
from tlft.features.inputs import View, compute
from tlft.features.keeping import KeptFeatures
from tlft.models.freeze import changing_state, freeze
from tlft.models.weights import Weights
from tlft.pixels.versions import FACTS, feature_versions
from tlft.runtime.device import Machine, waited_for
from tlft.storage.checked_json import DamagedFileError, read_checked, write_checked
from tlft.training.drawing import draw_flips

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SharedFeatures:
    """The images of a run with what the frozen part of its network says of them, and where the network is cut."""

    border: Border
    images: Images

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Have the network take features in place of images within the block."""
        with from_border(model, self.border):
            yield


def share_features(
    model: nn.Module,
    config: Config,
    weights: Weights,
    images: Images,
    machine: Machine,
    on_batch: Callable[[], None] = lambda: None,
) -> SharedFeatures | None:
    """Return what the frozen part of a network says of a run's images, computing what is not kept yet.

    Training and evaluation on it give the bits of those on the images, as far as the network's arithmetic gives an
    image the same bits in batches of any size (see docs/recipes.md). None where nothing is frozen, where
    `features=off` asks for it, or where it cannot be done, which is said.

    Args:
        model: with its weights, its frozen parts requiring no gradients.
        config: of the run, resolved.
        weights: of the run.
        images: of the run, decoded.
        machine: where the run is computed, and in which precision.
        on_batch: called after each batch; what it raises ends the computation, and what was computed stays.
    """
    if config.features == "off" or config.training.trainable == "all" or not _is_shown_alike(config, weights):
        return None
    facts = facts_of(describe_frozen(model, config, weights), machine)
    folder = folder_of(config.home, facts)
    try:
        with _ready_for_training(model, config):
            border = _open_border(folder, facts, model, weights.transform.crop, machine)
        if border is None:
            return None
        kept = KeptFeatures(folder, border)
        views = {name: _views_of(config, split, name) for name, split in images.splits.items()}

        def compute_views(missing: Sequence[View]) -> Iterator[list[tuple[View, np.ndarray]]]:
            return compute(model, border, missing, weights.transform, machine)

        with waited_for(machine):  # by each job beside this one that needs the same
            kept.complete(list(chain(*views.values())), compute_views, on_batch, config.cache.max_gb)
    except UncuttableError as error:
        if config.training.epochs:
            log.info("features: the frozen part of %s is computed in each epoch, since %s", config.arch.name, error)
        return None
    splits: dict[str, Any] = {
        name: replace(split, features=kept.inputs(split)) if views[name] else split
        for name, split in images.splits.items()
    }
    return SharedFeatures(border, replace(images, **splits))


def _is_shown_alike(config: Config, weights: Weights) -> bool:
    """Tell whether every epoch, and evaluation, shows an image as it is or mirrored; where not, it is said why."""
    if config.training.epochs and config.augment.name != "reference":
        log.info(
            "features: the frozen part of %s is computed in each epoch, since augment=%s shows no image twice alike",
            *(config.arch.name, config.augment.name),
        )
        return False
    if config.training.epochs and config.training.image_size not in (None, weights.transform.crop):
        log.info(
            "features: the frozen part of %s is computed in each epoch, since training.image_size=%d is not the size "
            "that is evaluated",
            *(config.arch.name, config.training.image_size),
        )
        return False
    return True


@contextmanager
def _ready_for_training(model: nn.Module, config: Config) -> Iterator[None]:
    """Have a network of which nothing is trained as if its head were: they share what they can."""
    if config.training.trainable != "none":
        yield
        return
    freeze(model, "head")
    try:
        yield
    finally:
        freeze(model, "none")


def describe_frozen(model: nn.Module, config: Config, weights: Weights) -> dict[str, Any]:
    """Return what identifies the frozen part of a network, in plain JSON types; nothing where all is trained."""
    if config.training.trainable == "all":
        return {}
    stages = "0" if config.training.trainable in ("head", "none") else config.training.trainable
    rates = [config.training.dropout, config.training.stochastic_depth]  # which decide where it can be cut
    is_of_a_file = config.model.name == "pretrained" and config.model.stages is None
    with _ready_for_training(model, config):
        return {
            "arch": [config.arch.library, config.arch.name],
            "weights": (is_of_a_file and weights.digest) or _digest_of_frozen(model),
            "transform": weights.transform.to_dict(),
            "stages": int(stages),
            **({"rates": rates} if any(rate is not None for rate in rates) else {}),
        }


def facts_of(frozen: Mapping[str, Any], machine: Machine) -> dict[str, Any]:
    """Return everything on which the bits depend of what a frozen part says of an image, in plain JSON types."""
    return {
        **frozen,
        "precision": machine.precision,
        "machine": _kind_of(machine),
        "versions": feature_versions("torch", frozen["arch"][0]),
    }


def folder_of(home: Path, facts: Mapping[str, Any]) -> Path:
    """Return where a home keeps the features of which these are the facts."""
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
    return home / "cache" / "features" / key


def _kind_of(machine: Machine) -> list[str]:
    """Return what tells machines apart whose bits differ; threads share out images, and change none."""
    kind = machine.device.type
    if kind == "cpu":
        return [kind, torch.backends.cpu.get_cpu_capability()]
    return [kind, torch.cuda.get_device_name(machine.device)] if kind == "cuda" else [kind]


def _digest_of_frozen(model: nn.Module) -> str:
    """Return the SHA-256 of what is never trained of a network whose weights are of no file."""
    changing, digest = changing_state(model).keys(), hashlib.sha256()
    for name, tensor in model.state_dict().items():
        if name not in changing:
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def remembered_border(folder: Path) -> Border | None:
    """Return where a network is cut, as it was found before; None if nothing crosses its border.

    Raises:
        UncuttableError: if it was found that it cannot be cut.
        LookupError: if that was not found out yet.
        DamagedFileError: if what was found is damaged.
    """
    try:
        remembered = read_checked(folder / FACTS)
    except OSError:
        raise LookupError(str(folder)) from None
    if remembered["reason"]:
        raise UncuttableError(remembered["reason"])
    return Border(**remembered["border"]) if remembered["border"] else None


def _open_border(
    folder: Path, facts: Mapping[str, Any], model: nn.Module, size: int, machine: Machine
) -> Border | None:
    """Return where the network is cut, as it was found before, or found and remembered now."""
    try:
        return remembered_border(folder)
    except LookupError:
        pass
    except DamagedFileError as error:
        log.warning("%s: is damaged, and computed anew", error)
    border, reason = None, ""
    try:
        border = find_border(model, size, machine)
    except FailedTrialError:
        raise  # and not remembered
    except UncuttableError as error:
        reason = str(error)
    record = {"facts": facts, "border": asdict(border) if border else None, "reason": reason}
    try:
        write_checked(folder / FACTS, record)
    except TlftError as error:
        log.debug("%s", error)  # said where the features themselves cannot be kept
    if reason:
        raise UncuttableError(reason)
    return border


def _views_of(config: Config, split: Split, name: str) -> list[View]:
    """Return the images of a split as the run looks at them: mirrored only those that some epoch mirrors."""
    count = len(split)
    if name != "train":
        return [View(split, index, False) for index in range(count)]
    looks = np.zeros((2, count), bool)  # whether some epoch looks at each image as it is, and mirrored
    for epoch in range(config.training.epochs):
        flips = draw_flips(config, epoch, count) if config.training.flip else np.zeros(count, bool)
        looks |= np.stack([~flips, flips])
        if looks.all():
            break
    return [View(split, index, bool(side)) for side, index in np.argwhere(looks).tolist()]
