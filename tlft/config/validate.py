"""The checks of a configuration that need nothing but its values.

What a folder, a network or the tracking store says of a configuration is asked elsewhere (see tlft/runs/preflight.py).
"""

from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from operator import attrgetter
from typing import get_type_hints

from tlft.config.recipe_schema import MixConfig, TrainingConfig
from tlft.config.schema import Config
from tlft.config.validate_data import wrong_data
from tlft.errors import nearest
from tlft.names import LONGEST_NAME, LONGEST_TAG, flatten, is_reserved_tag

_CHOICES = {
    "model.name": ("pretrained", "scratch", "moments", "shuffled"),
    "head.name": ("imagenet1k", "task"),
    "arch.library": ("torchvision", "timm"),
    "schedule.name": ("constant", "cosine", "step"),
    "features": ("auto", "off"),
    "precision": ("auto", "float32", "tf32", "bfloat16"),
    "augment.name": ("none", "reference", "random_resized_crop", "trivial", "rand", "mixup", "cutmix"),
    "training.keep": ("last", "lowest_train_loss"),
    "training.class_weights": ("none", "balanced"),
    "data.sampler": ("uniform", "balanced"),
    "data.unmapped": ("refuse", "leave_out"),
    "data.decode": ("full", "scaled"),
    "data.on_bad_image": ("error", "skip"),
    "data.subfolders": ("error", "include", "ignore"),
    "sweep.on_failure": ("continue", "stop"),
    "data.name": ("hymenoptera", "synthetic", "imagefolder", "manifest", "demo"),
}


_WORDS = {"device": ("auto", "cpu", "cuda", "mps"), "training.trainable": ("all", "head", "none")}
"""Of keys that take something else too."""

_AT_LEAST_ZERO = (
    *("seed", "training.epochs", "data.split_seed", "data.fold", "data.drawing_seed", "checkpoint.every_minutes"),
    *(
        "cache.max_gb",
        "schedule.warmup_epochs",
        "optimizer.weight_decay",
        "optimizer.momentum",
        "model.stages",
        "training.head_epochs",
    ),
)
_AT_LEAST_ONE = (
    *("threads", "training.batch_size", "training.eval_every", "checkpoint.every_epochs", "data.train_per_class"),
    *("data.image_size", "training.accumulate", "training.patience", "schedule.step_epochs", "augment.operations"),
    *("training.unfreeze_epochs", "training.image_size"),
)
_RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    "optimizer.lr": (lambda lr: lr > 0 and math.isfinite(lr), "a finite number above 0, such as 0.01"),
    "optimizer.beta1": (lambda beta: 0 <= beta < 1, "a number from 0 to below 1"),
    "optimizer.beta2": (lambda beta: 0 <= beta < 1, "a number from 0 to below 1"),
    "data.eval_fraction": (lambda share: 0 < share <= 1, "a number above 0 and up to 1, such as 0.2"),
    "data.folds": (lambda count: count >= 2, "a whole number from 2"),
    "data.holdout_fraction": (lambda share: 0 < share < 1, "a number between 0 and 1, such as 0.2"),
    "training.label_smoothing": (lambda share: 0 <= share < 1, "a number from 0 to below 1, such as 0.1"),
    "training.clip_norm": (lambda norm: norm > 0 and math.isfinite(norm), "a finite number above 0, such as 1.0"),
    "augment.min_scale": (lambda share: 0 < share <= 1, "a number above 0 and up to 1, such as 0.08"),
    "augment.magnitude": (lambda degree: 0 <= degree <= 30, "a whole number from 0 to 30"),
    "augment.alpha": (lambda alpha: alpha > 0 and math.isfinite(alpha), "a finite number above 0, such as 0.2"),
    "training.backbone_lr": (lambda share: 0 < share <= 1, "a number above 0 and up to 1, such as 0.1"),
    "training.layer_decay": (lambda share: 0 < share <= 1, "a number above 0 and up to 1, such as 0.75"),
    "training.dropout": (lambda share: 0 <= share < 1, "a number from 0 to below 1, such as 0.2"),
    "training.stochastic_depth": (lambda share: 0 <= share < 1, "a number from 0 to below 1, such as 0.1"),
    "training.ema": (lambda decay: 0 < decay < 1, "a number between 0 and 1, such as 0.999"),
    "training.sam": (lambda radius: radius > 0 and math.isfinite(radius), "a finite number above 0, such as 0.05"),
    "schedule.gamma": (lambda factor: 0 < factor <= 1, "a number above 0 and up to 1, such as 0.1"),
    "arch.bn_momentum": (lambda momentum: 0 < momentum <= 1, "a number above 0 and up to 1, such as 0.1"),
    "data.train_fraction": (lambda share: 0 < share <= 1, "a number above 0 and up to 1"),
}


def find_problems(config: Config) -> list[str]:
    """Return every problem that the values as asked for show by themselves, one line each with its mend."""
    checks = (_wrong_choices, _wrong_numbers, _wrong_device, wrong_data, _wrong_tags, _wrong_combinations)
    return [problem for check in checks for problem in check(config)]


def _wrong_choices(config: Config) -> list[str]:
    problems = []
    for key, choices in _CHOICES.items():
        value = attrgetter(key)(config)
        if value not in choices:
            problems.append(f"{key}={value}: choose one of {', '.join(choices)}{nearest(str(value), choices)}")
    trainable = config.training.trainable
    if trainable not in ("all", "head", "none") and not trainable.isdecimal():
        problems.append(
            f"training.trainable={trainable}: choose all, head, none, or a whole number of stages from 0"
            f"{nearest(trainable, ('all', 'head', 'none'))}"
        )
    return problems


def _wrong_numbers(config: Config) -> list[str]:
    problems = []
    for key in (*_AT_LEAST_ZERO, *_AT_LEAST_ONE):
        least, value = int(key in _AT_LEAST_ONE), _value_of(config, key)
        if value is not None and not (value >= least and math.isfinite(value)):
            kind = "whole number" if isinstance(value, int) else "number"
            problems.append(f"{key}={value}: give a {kind} of at least {least}")
    if config.seed >= 2**63 or config.data.split_seed >= 2**63:
        problems.append("seed and data.split_seed: give numbers below 2**63")
    for key, (is_right, mend) in _RANGES.items():
        value = _value_of(config, key)
        if value is not None and not is_right(value):
            problems.append(f"{key}={value}: give {mend}")
    optimizer = config.optimizer
    if not getattr(optimizer, "eps", 1.0) > 0:
        problems.append("optimizer.eps: give a number above 0, such as 1e-8")
    if getattr(optimizer, "nesterov", False) and not getattr(optimizer, "momentum", 0) > 0:
        problems.append("optimizer.nesterov=true: needs optimizer.momentum above 0")
    return problems


def describe_values(key: str, kind: type, is_optional: bool) -> str:
    """Say which values a key takes, such as `whole number of at least 1, or null`; nothing of text of any kind."""
    if key in _CHOICES:
        text = ", ".join(_CHOICES[key])
    elif key in _RANGES:
        text = _RANGES[key][1].removeprefix("a ")
    elif kind is bool:
        text = "true, false"
    elif kind in (int, float):
        text = "whole number" if kind is int else "number"
        if key in (*_AT_LEAST_ZERO, *_AT_LEAST_ONE):
            text += f" of at least {int(key in _AT_LEAST_ONE)}"
    else:
        return ""
    return f"{text}, or null" if is_optional else text


def choices_of(key: str) -> tuple[str, ...]:
    """Return the words that a dotted key takes; none of a key that takes anything else, or is not there."""
    kind: object = Config
    for name in key.split("."):
        kind = get_type_hints(kind).get(name) if is_dataclass(kind) else None
    return _CHOICES.get(key, _WORDS.get(key, ("true", "false") if kind is bool else ()))


def _value_of(config: Config, key: str) -> float | None:
    """Return the value of a dotted key; None where the options that were chosen have no such key."""
    group, _, name = key.rpartition(".")
    value: float | None = getattr(attrgetter(group)(config) if group else config, name, None)
    return value


def _wrong_device(config: Config) -> list[str]:
    if re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", config.device):
        if config.precision == "tf32" and config.device in ("cpu", "mps"):
            mend = "use precision=float32, or device=cuda"
            return [f"precision=tf32 device={config.device}: only NVIDIA's GPUs have it; {mend}"]
        return []
    choices = ("auto", "cpu", "cuda", "cuda:1", "mps")
    return [f"device={config.device}: choose one of {', '.join(choices)}{nearest(config.device, choices)}"]


def _wrong_tags(config: Config) -> list[str]:
    """Return what MLflow would not keep as it is, and names that are taken."""
    tags = config.tracking.tags
    if tags is None:
        return []
    if not isinstance(tags, dict):
        return [f"tracking.tags={tags}: write {{name:text,...}}"]
    problems = []
    for name, value in ((str(name), str(value)) for name, value in tags.items()):
        if is_reserved_tag(name):
            problems.append(f"tracking.tags.{name}: is a tag of tlft's own; choose another name")
        elif len(name) > LONGEST_NAME:
            limit = f"MLflow takes at most {LONGEST_NAME}; shorten it"
            problems.append(f"tracking.tags: the name {name[:30]}... has {len(name)} characters; {limit}")
        elif not _is_name_of_a_tag(name):
            problems.append(
                f"tracking.tags: the name {name!r} is none that MLflow takes; use letters, digits, _, -, . and spaces"
            )
        if len(value) > LONGEST_TAG:
            problems.append(
                f"tracking.tags.{name[:30]}: its {len(value)} characters are more than the {LONGEST_TAG} that MLflow "
                "keeps of a tag; shorten it"
            )
    return problems


def _is_name_of_a_tag(name: str) -> bool:
    """Tell whether MLflow takes the name, which might become a path there."""
    is_path_within = posixpath.normpath(name) == name != "." and not name.startswith(("..", "/"))
    return is_path_within and re.fullmatch(r"[/\w.\- :]+", name) is not None


def _wrong_combinations(config: Config) -> list[str]:
    problems = []
    if config.verify and config.from_run is None:
        problems.append("verify=true: compares with the run that is repeated; give from_run=RUN too")
    class_map = config.data.class_map
    if not isinstance(class_map, dict | str | None):
        problems.append(
            f"data.class_map={class_map}: write {{class:[output,...],...}}, or name a .yaml, .json or .csv file"
        )
    if config.head.name == "imagenet1k":
        if config.model.name != "pretrained" or config.model.stages is not None:
            which = "" if config.model.stages is None else f" model.stages={config.model.stages}"
            problems.append(
                f"model={config.model.name}{which} head=imagenet1k: an untrained 1000-class head knows no class; use "
                "head=task"
            )
        elif config.training.trainable != "none" and config.training.epochs != 0:
            problems.append(
                f"head=imagenet1k training.trainable={config.training.trainable}: the 1000-class head is only "
                "evaluated; use head=task to train, or training.trainable=none"
            )
    problems += _model_problems(config) + _recipe_problems(config)
    if config.sweep.choose not in (None, "holdout"):
        problems.append(f"sweep.choose={config.sweep.choose}: choose holdout, or null")
    if (key := config.sweep.curve) is not None and not _has_key(config, key):
        mend = "name one that the sweep varies, such as training.epochs"
        problems.append(f"sweep.curve={key}: there is no such key; {mend}")
    if not config.tracking.experiment.strip():
        problems.append("tracking.experiment: give a name, such as tracking.experiment=tlft")
    return problems


def _has_key(config: Config, key: str) -> bool:
    return key in flatten(asdict(config)) or key.startswith("optimizer.")  # which differ between optimizers


def _recipe_problems(config: Config) -> list[str]:
    """Return what contradicts itself in how a network is trained, a line each."""
    training, problems = config.training, []
    warmup, epochs = config.schedule.warmup_epochs, training.epochs
    if training.trainable != "none" and warmup > epochs > 0:
        problems.append(f"schedule.warmup_epochs={warmup:g}: more than training.epochs={epochs}; give fewer")
    problems += _unfreezing_problems(training)
    if isinstance(config.augment, MixConfig) and training.batch_size < 2:
        problems.append(f"augment={config.augment.name} training.batch_size=1: mixes two images; give 2 or more")
    if training.ema is not None and training.keep != "last":
        problems.append(f"training.ema={training.ema:g} training.keep={training.keep}: evaluate one of them, not both")
    if training.patience is not None and training.keep != "last":
        problems.append(
            f"training.patience={training.patience} training.keep={training.keep}: each keeps other weights; leave one "
            "of them out"
        )
    if training.class_weights == config.data.sampler == "balanced":
        problems.append(
            "training.class_weights=balanced data.sampler=balanced: rare classes would count twice; leave one of them "
            "out"
        )
    if training.sam is not None and training.accumulate > 1:
        problems.append(
            f"training.sam={training.sam:g} training.accumulate={training.accumulate}: a step looks around on one "
            "batch; leave one of them out"
        )
    return problems


def _unfreezing_problems(training: TrainingConfig) -> list[str]:
    """Return what contradicts itself in which part is trained when; with nothing trained there is none."""
    if training.trainable == "none" or training.epochs <= 0:
        return []
    if re.fullmatch("head|0+", training.trainable):
        keys = ("head_epochs", "unfreeze_epochs")
        return [
            f"training.{key}={value} training.trainable={training.trainable}: the head alone is trained to the end; "
            "leave one of them out"
            for key in keys
            if (value := getattr(training, key))
        ]
    if training.head_epochs >= training.epochs:
        return [
            f"training.head_epochs={training.head_epochs}: leaves none of the training.epochs={training.epochs} for "
            "the backbone; give fewer, or training.trainable=head"
        ]
    return []


def stages_of_nothing(config: Config) -> list[str]:
    """Return the problem that stages of a network without pretrained weights are asked for."""
    model = config.model
    if model.stages is None or model.name == "pretrained":
        return []
    return [
        f"model.stages={model.stages}: are pretrained stages, and model={model.name} has none; "
        "use model=pretrained, or leave it out"
    ]


def _model_problems(config: Config) -> list[str]:
    """Return what contradicts itself in where the weights come from, a line each."""
    model, problems = config.model, []
    given = [key for key in ("run_id", "weights_file", "weights") if getattr(model, key)]
    if model.name == "scratch" and given:
        problems.append(
            f"model=scratch model.{given[0]}={getattr(model, given[0])}: a scratch model loads no weights; "
            "use model=pretrained"
        )
    problems += stages_of_nothing(config)
    if model.stages is not None and model.keep_head:
        problems.append(f"model.stages={model.stages} model.keep_head=true: a head on other stages knows nothing")
    if model.name != "scratch" and model.weights is None:
        problems.append("model.weights=null: name weights, such as model.weights=IMAGENET1K_V1, or model=scratch")
    if model.run_id and model.weights_file:
        problems.append(f"model.run_id={model.run_id} model.weights_file={model.weights_file}: give one of them")
    elif model.keep_head and not (model.run_id or model.weights_file):
        problems.append("model.keep_head=true: of which classifier? give model=run model.run_id=..., or model=file")
    if model.keep_head and config.head.name != "task":
        problems.append(
            f"model.keep_head=true head={config.head.name}: only head=task begins as another; leave one out"
        )
    return problems
