"""What makes two runs the same run.

Only what can change a result is looked at; where a run is computed, tracked or stored is not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tlft.config.recipe_schema import TrainingConfig
from tlft.config.schema import Config
from tlft.data.batch_borders import has_lone_image
from tlft.data.class_map import ClassMap
from tlft.names import Param
from tlft.pixels.transforms import Transform

FORMAT = 1


def scientific_config(
    config: Config,
    digests: Mapping[str, str],
    transform: Transform,
    weights_digest: str | None,
    class_map: ClassMap | None,
    train_images: int = 0,
    classes: Sequence[str] = (),
) -> dict[str, Any]:
    """Return everything that can change the result, defaults included, and nothing else, in plain JSON types.

    What cannot matter is dropped here: with nothing trained the optimizer, the schedule, the epochs, the batches and
    the training images; the seed too if no weight is drawn from it. Scratch has no `weights_digest`, and only the
    1000-class head a `class_map`; `digests` are the contents of the splits. The number of training images (those that
    can be decoded) matters where it leaves a lone one, which an earlier version trained on alone (see
    tlft/data/batch_borders.py); the order of the `classes` where it is not that of their letters, in which an earlier
    version had the outputs of a new head.
    """
    training = config.training
    trained = training.trainable != "none"
    science: dict[str, Any] = {
        Param.FORMAT: FORMAT,
        "arch": {"library": config.arch.library, "name": config.arch.name},
        "model": {"name": config.model.name},
        "head": {"name": config.head.name},
        "transform": transform.to_dict(),
        "data": {split: digest for split, digest in digests.items() if trained or split != "train"},
        "precision": config.precision,
        "training": {"trainable": training.trainable},
    }
    if weights_digest is not None:
        science["model"]["weights"] = weights_digest
    if config.model.stages is not None:
        science["model"]["stages"] = config.model.stages
    if config.model.keep_head:
        science["model"]["head"] = "kept"
    if config.head.name == "task" and list(classes) != sorted(classes):
        science["head"]["classes"] = "natural"
    if class_map is not None:
        science[Param.CLASS_MAP] = digest_of(class_map)
    if trained:
        science["training"] |= {name: getattr(training, name) for name in ("epochs", "batch_size", "flip", "keep")}
        if has_lone_image(train_images, training.batch_size):
            science["training"]["last_batch"] = "joined"
        science["training"] |= _deviations(config, transform)
        follows = config.model.name == "pretrained" and training.trainable != "head"  # else frozen, or the library's
        if config.arch.bn_momentum is not None and follows:
            science["model"]["bn_momentum"] = config.arch.bn_momentum
        science["optimizer"] = asdict(config.optimizer)
        science["schedule"] = asdict(config.schedule)
        if config.augment.name != "reference":
            science["augment"] = asdict(config.augment)
    if draws_from_seed(config):
        science["seed"] = config.seed
    return science


def draws_from_seed(config: Config) -> bool:
    """Tell whether anything of a run is drawn from `seed`: its training, or a weight of its backbone or its head."""
    model = config.model
    backbone = model.name != "pretrained" or model.stages is not None
    head = config.head.name == "task" and not model.keep_head
    return config.training.trainable != "none" or backbone or head


def _deviations(config: Config, transform: Transform) -> dict[str, Any]:
    """Return the settings of training that are not neutral, so that runs from before there were any keep their keys."""
    training, values = config.training, dict[str, Any]()
    if training.label_smoothing:
        values["label_smoothing"] = training.label_smoothing
    if training.clip_norm is not None:
        values["clip_norm"] = training.clip_norm
    if not training.decay_norms and config.optimizer.weight_decay:
        values["decay_norms"] = False
    if training.accumulate != 1:
        values["accumulate"] = training.accumulate
    if training.trainable != "head":  # else no part of the backbone has a rate, or waits
        values |= {"head_epochs": training.head_epochs} if training.head_epochs else {}
        values |= _given(training, "stochastic_depth")
        values |= _given(training, "unfreeze_epochs") if training.trainable != "1" else {}
        values |= {name: share for name in ("backbone_lr", "layer_decay") if (share := getattr(training, name)) != 1}
    if training.class_weights != "none":
        values["class_weights"] = training.class_weights
    values |= _given(training, "ema", "sam", "patience", "dropout")
    if training.image_size not in (None, transform.crop):
        values["image_size"] = training.image_size
    if config.data.sampler != "uniform":
        values["sampler"] = config.data.sampler
    return values


def _given(training: TrainingConfig, *names: str) -> dict[str, Any]:
    return {name: value for name in names if (value := getattr(training, name)) is not None}


def digest_of(value: Any) -> str:
    """Return the SHA-256 of a value's sorted JSON; numbers that are equal have one spelling (1 and 1.0 differ)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def run_key(science: Mapping[str, Any]) -> str:
    """Return the SHA-256 that two runs share if and only if they are the same run."""
    return digest_of(science)
