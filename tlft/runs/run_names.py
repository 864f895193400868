"""What people call a run: its name, and the words for its settings where they tell it from others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tlft.config.columns import COLUMN_PARAMS, column_of
from tlft.config.recipe_schema import OptimizerConfig, TorchConfig
from tlft.config.schema import Config
from tlft.names import Param
from tlft.runs.run_key import draws_from_seed


def run_name(config: Config, told: Sequence[str] = ()) -> str:
    """Return a name that people can read, what differs most first, such as `fine_tune s3 lr 0.1 resnet50 sgd`.

    `told` are settings besides: those in which a sweep's runs differ, or that a single run was asked for.
    """
    settings = [config.model.name, config.head.name, config.training.trainable]
    settings += [] if config.model.stages is None else [str(config.model.stages)]
    head = {Param.KEPT_HEAD: "kept"} if config.model.keep_head else {}
    column = column_of(dict(zip(COLUMN_PARAMS, settings, strict=False)) | head)
    is_trained = config.training.trainable != "none"
    words = [column.key if column is not None else " ".join(settings)]
    words += [f"s{config.seed}"] if draws_from_seed(config) else []
    words += [f"fold{config.data.fold}"] if config.data.folds else []
    words += told
    words += [config.arch.name.removeprefix("tf_"), *([_name_optimizer(config.optimizer)] if is_trained else [])]
    return " ".join(words)


def _name_optimizer(config: OptimizerConfig) -> str:
    return config.algorithm.lower() if isinstance(config, TorchConfig) else config.name


def differing_settings(settings: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Return of each run the settings in which some differ, such as `lr 0.1`; first those that not all have.

    `settings` are the runs' parameters by their dotted names.
    """
    values = {key: {setting.get(key) for setting in settings} for key in _WORDS}
    for key in values.keys() - _OFF_WHERE_ABSENT:
        values[key].discard(None)  # such as the momentum of another optimizer
    differing = sorted((key for key in values if len(values[key]) > 1), key=lambda key: None not in values[key])
    return [tuple(f"{_WORDS[key]} {setting[key]}" for key in differing if key in setting) for setting in settings]


def asked_settings(settings: Mapping[str, Any], overrides: Sequence[str]) -> tuple[str, ...]:
    """Return the settings of a single run that its command line asks for, such as `lr 0.1`, and its recipe's name."""
    given = dict(override.lstrip("+").partition("=")[::2] for override in overrides)
    recipe = [given["recipe"]] if "recipe" in given else []
    return (*recipe, *(f"{_WORDS[key]} {settings[key]}" for key in _WORDS if key in settings and _key_of(key) in given))


def _key_of(param: str) -> str:
    """Return what sets a parameter on the command line: that of a group's choice is the group itself."""
    return _SET_ELSEWHERE.get(param, param.removesuffix(".name"))


_SET_ELSEWHERE = {Param.SAMPLER: "data.sampler"}

_WORDS = {
    Param.LR: "lr",
    Param.WEIGHT_DECAY: "decay",
    Param.MOMENTUM: "momentum",
    Param.BETA1: "beta1",
    Param.SCHEDULE: "schedule",
    Param.WARMUP_EPOCHS: "warm-up",
    Param.EPOCHS: "epochs",
    Param.BATCH_SIZE: "batch",
    Param.FLIP: "flip",
    Param.KEEP: "keep",
    Param.PRECISION: "in",
    Param.AUGMENT: "augment",
    Param.LABEL_SMOOTHING: "smoothing",
    Param.CLIP_NORM: "clip",
    Param.ACCUMULATE: "accumulate",
    Param.BACKBONE_LR: "backbone lr",
    Param.LAYER_DECAY: "layer decay",
    Param.HEAD_EPOCHS: "head epochs",
    Param.UNFREEZE_EPOCHS: "unfreeze",
    Param.DROPOUT: "dropout",
    Param.STOCHASTIC_DEPTH: "depth",
    Param.IMAGE_SIZE: "trained at",
    Param.CLASS_WEIGHTS: "class weights",
    Param.SAMPLER: "sampler",
    Param.EMA: "ema",
    Param.SAM: "sam",
    Param.PATIENCE: "patience",
}
"""Settings that no name of a run has by itself, and what they are called there and in a line of a job."""

_OFF_WHERE_ABSENT = {
    *(Param.AUGMENT, Param.LABEL_SMOOTHING, Param.CLIP_NORM, Param.ACCUMULATE, Param.BACKBONE_LR, Param.LAYER_DECAY),
    *(Param.HEAD_EPOCHS, Param.CLASS_WEIGHTS, Param.SAMPLER, Param.EMA, Param.SAM, Param.PATIENCE),
    *(Param.UNFREEZE_EPOCHS, Param.DROPOUT, Param.STOCHASTIC_DEPTH, Param.IMAGE_SIZE),
}
"""Settings of which a run has nothing where they are not used, so that some jobs having one is a difference."""
