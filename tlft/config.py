"""The schema of the configuration, and the checks that need nothing but its values.

What a folder, a network or the tracking store says of a configuration is asked elsewhere (see preflight.py).
"""

from __future__ import annotations

import copy
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf, open_dict

from tlft.errors import nearest

PROJECT = Path(__file__).resolve().parent.parent


def home_folder() -> Path:
    """Return the folder that holds everything written: `TLFT_HOME`, or the project folder."""
    return Path(os.environ.get("TLFT_HOME") or PROJECT).expanduser().absolute()


@dataclass
class PathsConfig:
    """Say where files are written."""

    home: str = "${tlft.home:}"


@dataclass
class ArchConfig:
    """Name an architecture, the library that builds it, and the weights whose transform it is used with.

    `bn_momentum` is the momentum with which pretrained batch-norm statistics follow the batches of a fine-tuning;
    null leaves it to the library.
    """

    name: str = MISSING
    library: str = MISSING
    weights: str = "auto"
    bn_momentum: float | None = None


@dataclass
class ModelConfig:
    """Say where the weights come from: `pretrained` or `scratch`."""

    name: str = MISSING
    weights: str | None = None
    weights_file: str | None = None


@dataclass
class HeadConfig:
    """Keep the 1000-class head (`imagenet1k`), or put a new one with an output per class (`task`)."""

    name: str = MISSING


@dataclass
class OptimizerConfig:
    """What every optimizer has."""

    name: str = MISSING
    lr: float = MISSING
    weight_decay: float = 0.0


@dataclass
class SgdConfig(OptimizerConfig):
    """Stochastic gradient descent (`torch.optim.SGD`)."""

    name: str = "sgd"
    momentum: float = 0.0
    nesterov: bool = False


@dataclass
class AdamConfig(OptimizerConfig):
    """Adam (`torch.optim.Adam`)."""

    name: str = "adam"
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8


@dataclass
class AdamWConfig(AdamConfig):
    """Adam with decoupled weight decay (`torch.optim.AdamW`)."""

    name: str = "adamw"


@dataclass
class ScheduleConfig:
    """Learning rate over time, changed at each step: `constant`, or `cosine` down to zero."""

    name: str = "constant"
    warmup_epochs: float = 0.0


@dataclass
class DataConfig:
    """Name a folder of images, and say how it is split."""

    name: str = MISSING
    root: str | None = None
    class_map: Any = None  # a dictionary; typed, Hydra would let nobody add a class to it
    train_split: str = "train"
    eval_split: str | None = None
    split_seed: int = 0
    eval_fraction: float | None = None
    holdout_fraction: float | None = None
    train_fraction: float | None = None
    on_bad_image: str = "error"


@dataclass
class SyntheticConfig(DataConfig):
    """The drawn ants and bees; `drawing_seed` draws others."""

    drawing_seed: int = 0


@dataclass
class TrainingConfig:
    """How the weights are trained; `trainable=none` leaves them as they are."""

    trainable: str = "all"
    epochs: int = 50
    batch_size: int = 64
    flip: bool = True
    keep: str = "last"
    eval_every: int | None = None


@dataclass
class CheckpointConfig:
    """How often an unfinished run saves what it needs to go on after a crash; null switches one of them off."""

    every_epochs: int | None = 1
    every_minutes: float | None = 5.0


@dataclass
class CacheConfig:
    """Gigabytes that decoded images may take; null sets no limit."""

    max_gb: float | None = None


@dataclass
class ResumeConfig:
    """Whether a sweep waits for runs that another process works on."""

    wait: bool = False


@dataclass
class SweepConfig:
    """What a sweep does when a job has failed (`continue`, `stop`); `parent`, its MLflow run, it tells jobs itself."""

    on_failure: str = "continue"
    parent: str | None = None


@dataclass
class TrackingConfig:
    """Where MLflow keeps the runs, and what it keeps of them."""

    uri: str | None = None
    experiment: str = "tlft"
    weights: bool = True
    tags: Any = None


@dataclass
class Config:
    """One run, whole."""

    arch: ArchConfig = MISSING
    model: ModelConfig = MISSING
    head: HeadConfig = MISSING
    optimizer: OptimizerConfig = MISSING
    schedule: ScheduleConfig = MISSING
    data: DataConfig = MISSING
    training: TrainingConfig = field(default_factory=TrainingConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    cache: CacheConfig = field(default_factory=CacheConfig)
    resume: ResumeConfig = field(default_factory=ResumeConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    force: bool = False
    plan: bool = False
    debug: bool = False

    @property
    def home(self) -> Path:
        """The folder `paths.home`."""
        return Path(self.paths.home).expanduser().absolute()

    @property
    def epochs(self) -> int:
        """Epochs that are run: none where nothing is trainable, whatever `training.epochs` says; with `debug` one."""
        epochs = 0 if self.training.trainable == "none" else self.training.epochs
        return min(epochs, 1) if self.debug else epochs

    @property
    def trainable(self) -> str:
        """What is trained: `none` where no epoch is run, whatever `training.trainable` says."""
        return "none" if self.training.epochs == 0 else self.training.trainable

    @property
    def experiment(self) -> str:
        """Name of the MLflow experiment; runs that only try the code have one of their own."""
        return f"{self.tracking.experiment}-debug" if self.debug else self.tracking.experiment


def register() -> None:
    """Tell Hydra the schemas and the resolvers; calling it again changes nothing."""
    OmegaConf.register_new_resolver("tlft.home", lambda: str(home_folder()), replace=True)
    store = ConfigStore.instance().store
    store(name="schema", node=Config)
    options: dict[str, type] = {
        "optimizer/sgd": SgdConfig,
        "optimizer/adam": AdamConfig,
        "optimizer/adamw": AdamWConfig,
    }
    options |= {"data/imagefolder": DataConfig, "data/synthetic": SyntheticConfig}
    for option, node in options.items():  # groups below hydra/ are not listed among the options that a user has
        store(group=f"hydra/schema/{option.partition('/')[0]}", name=option.partition("/")[2], node=node)


def to_config(cfg: DictConfig) -> Config:
    """Turn what Hydra composed into plain dataclasses, every interpolation resolved."""
    plain = copy.deepcopy(cfg)
    with open_dict(plain):
        plain.pop("hydra", None)
    config = OmegaConf.to_object(plain)
    assert isinstance(config, Config)
    return config


_CHOICES = {
    "model.name": ("pretrained", "scratch"),
    "head.name": ("imagenet1k", "task"),
    "arch.library": ("torchvision", "timm"),
    "schedule.name": ("constant", "cosine"),
    "precision": ("auto", "float32", "bfloat16"),
    "training.keep": ("last", "lowest_train_loss"),
    "data.on_bad_image": ("error", "skip"),
    "sweep.on_failure": ("continue", "stop"),
    "data.name": ("hymenoptera", "synthetic", "imagefolder", "demo"),
}

OWN_TAGS = (
    *("host", "data", "arch", "weights", "debug", "commit", "dirty", "torch"),
    *("device", "hardware", "precision", "threads", "command"),
)
"""Names of the tags that every run has."""


def find_problems(config: Config) -> list[str]:
    """Return every problem that the values alone show, one line each with its mend; empty if there is none."""
    checks = (_wrong_choices, _wrong_numbers, _wrong_device, _wrong_data, _wrong_combinations)
    return [problem for check in checks for problem in check(config)]


def _wrong_choices(config: Config) -> list[str]:
    problems = []
    for key, choices in _CHOICES.items():
        value = OmegaConf.select(OmegaConf.structured(config), key)
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
    training, optimizer, data = config.training, config.optimizer, config.data
    at_least: list[tuple[str, float | None, float]] = [
        ("seed", config.seed, 0),
        ("threads", config.threads, 1),
        ("training.epochs", training.epochs, 0),
        ("training.batch_size", training.batch_size, 1),
        ("training.eval_every", training.eval_every, 1),
        ("data.split_seed", data.split_seed, 0),
        ("data.drawing_seed", getattr(data, "drawing_seed", 0), 0),
        ("checkpoint.every_epochs", config.checkpoint.every_epochs, 1),
        ("checkpoint.every_minutes", config.checkpoint.every_minutes, 0),
        ("cache.max_gb", config.cache.max_gb, 0),
        ("schedule.warmup_epochs", config.schedule.warmup_epochs, 0),
        ("optimizer.weight_decay", optimizer.weight_decay, 0),
        ("optimizer.momentum", getattr(optimizer, "momentum", 0), 0),
    ]
    problems = [
        f"{key}={value}: give a {'whole ' if isinstance(value, int) else ''}number of at least {least}"
        for key, value, least in at_least
        if value is not None and not (value >= least and math.isfinite(value))
    ]
    if config.seed >= 2**63 or data.split_seed >= 2**63:
        problems.append("seed and data.split_seed: give numbers below 2**63")
    if not (optimizer.lr > 0 and math.isfinite(optimizer.lr)):
        problems.append(f"optimizer.lr={optimizer.lr}: give a finite number above 0, such as 0.01")
    for key in ("beta1", "beta2"):
        value = getattr(optimizer, key, 0.0)
        if not 0 <= value < 1:
            problems.append(f"optimizer.{key}={value}: give a number from 0 to below 1")
    if not getattr(optimizer, "eps", 1.0) > 0:
        problems.append("optimizer.eps: give a number above 0, such as 1e-8")
    if getattr(optimizer, "nesterov", False) and not getattr(optimizer, "momentum", 0) > 0:
        problems.append("optimizer.nesterov=true: needs optimizer.momentum above 0")
    for key in ("eval_fraction", "holdout_fraction"):
        value = getattr(data, key)
        if value is not None and not 0 < value < 1:
            problems.append(f"data.{key}={value}: give a number between 0 and 1, such as 0.2")
    if config.arch.bn_momentum is not None and not 0 < config.arch.bn_momentum <= 1:
        problems.append(f"arch.bn_momentum={config.arch.bn_momentum}: give a number above 0 and up to 1, such as 0.1")
    if data.train_fraction is not None and not 0 < data.train_fraction <= 1:
        problems.append(f"data.train_fraction={data.train_fraction}: give a number above 0 and up to 1")
    return problems


def _wrong_device(config: Config) -> list[str]:
    kind, _, index = config.device.partition(":")
    well_formed = kind in ("auto", "cpu", "mps", "cuda") and (
        ":" not in config.device or (kind == "cuda" and index.isdecimal())
    )
    if well_formed:
        return []
    known = ("auto", "cpu", "cuda", "cuda:1", "mps")
    return [f"device={config.device}: choose one of {', '.join(known)}{nearest(config.device, known)}"]


def _wrong_data(config: Config) -> list[str]:
    data = config.data
    problems = []
    if data.name == "imagefolder" and not data.root:
        problems.append("data=imagefolder: say which folder, data.root=/path/to/folder")
    if data.name in ("synthetic", "demo") and data.root:
        problems.append(f"data={data.name} data.root={data.root}: takes no folder; use data=imagefolder")
    if data.name != "imagefolder":
        for key, neutral in (("eval_fraction", None), ("eval_split", None), ("train_split", "train")):
            if getattr(data, key) != neutral:
                problems.append(
                    f"data.{key}={getattr(data, key)}: data={data.name} has its own split; use data=imagefolder"
                )
    if data.eval_fraction is not None and (data.eval_split is not None or data.train_split != "train"):
        problems.append(
            f"data.eval_fraction={data.eval_fraction}: splits <class>/* without folders of splits; leave it out, or "
            "data.eval_split and data.train_split"
        )
    if data.eval_split is not None and data.eval_split == data.train_split:
        problems.append(f"data.eval_split={data.eval_split}: is data.train_split too; name another folder")
    return problems


def _wrong_combinations(config: Config) -> list[str]:
    problems = []
    if config.data.class_map is not None and not isinstance(config.data.class_map, dict):
        problems.append(f"data.class_map={config.data.class_map}: write {{class:[output,...],...}}")
    if config.tracking.tags is not None and not isinstance(config.tracking.tags, dict):
        problems.append(f"tracking.tags={config.tracking.tags}: write {{name:text,...}}")
    for name in config.tracking.tags if isinstance(config.tracking.tags, dict) else ():
        if str(name).startswith(("tlft.", "mlflow.")) or name in OWN_TAGS:
            problems.append(f"tracking.tags.{name}: is a tag of tlft's own; choose another name")
    if config.head.name == "imagenet1k":
        if config.model.name == "scratch":
            problems.append("model=scratch head=imagenet1k: an untrained 1000-class head knows no class; use head=task")
        elif config.trainable != "none":
            problems.append(
                f"head=imagenet1k training.trainable={config.trainable}: the 1000-class head is only evaluated; "
                "use head=task to train, or training.trainable=none"
            )
    if config.model.name == "scratch" and (config.model.weights_file or config.model.weights):
        key = "weights_file" if config.model.weights_file else "weights"
        problems.append(
            f"model=scratch model.{key}={getattr(config.model, key)}: a scratch model loads no weights; "
            "use model=pretrained"
        )
    if config.model.name == "pretrained" and config.model.weights is None:
        problems.append("model.weights=null: name weights, such as model.weights=IMAGENET1K_V1, or model=scratch")
    if not config.tracking.experiment.strip():
        problems.append("tracking.experiment: give a name, such as tracking.experiment=tlft")
    warmup, epochs = config.schedule.warmup_epochs, config.training.epochs
    if config.trainable != "none" and warmup > epochs > 0:
        problems.append(f"schedule.warmup_epochs={warmup:g}: more than training.epochs={epochs}")
    return problems
