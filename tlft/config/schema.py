"""The schema of the configuration; what its values must be is checked elsewhere (see validate.py)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from omegaconf import MISSING


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


NEAR_DUPLICATES = "near_duplicates"
"""As `data.group`: evaluation images that are nearly the same are one group."""


@dataclass
class DataConfig:
    """Name a folder of images, and say how it is split."""

    name: str = MISSING
    root: str | None = None
    class_map: Any = None  # a dictionary, or a file's name; typed, Hydra would let nobody add a class to it
    train_split: str = "train"
    eval_split: str | None = None
    split_seed: int = 0
    eval_fraction: float | None = None
    holdout_fraction: float | None = None
    train_fraction: float | None = None
    on_bad_image: str = "error"
    subfolders: str = "error"
    group: str | None = None  # NEAR_DUPLICATES, or a regular expression with one group, on a file's path in the folder
    origin: str | None = None


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
    """What a sweep does when a job has failed: `continue`, or `stop`."""

    on_failure: str = "continue"


@dataclass
class TrackingConfig:
    """Where MLflow keeps the runs, and what it keeps of them.

    `source` keeps the text of changes to the code that were not committed; commit and dirty state are kept anyway.
    """

    uri: str | None = None
    experiment: str = "tlft"
    weights: bool = True
    source: bool = True
    tags: Any = None


@dataclass
class Config:
    """One run, whole: as it was asked for, or `resolve`d."""

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
    from_run: str | None = None
    verify: bool = False

    @property
    def home(self) -> Path:
        """The folder `paths.home`."""
        return Path(self.paths.home).expanduser().absolute()


def resolve(config: Config) -> Config:
    """Return the configuration with the values that it comes to.

    Nothing trainable means no epochs, and no epochs nothing trainable; the head and no stage of the backbone is the
    head. `debug` runs one epoch at most, and has an experiment of its own. What only tries or verifies is computed
    although it was done before.
    """
    training, tracking = config.training, config.tracking
    epochs = 0 if training.trainable == "none" else training.epochs
    trainable = "none" if training.epochs == 0 else training.trainable
    if trainable.isdecimal() and int(trainable) == 0:
        trainable = "head"
    experiment = tracking.experiment
    if config.debug:
        epochs = min(epochs, 1)
        experiment = f"{experiment}-debug"
    return replace(
        config,
        training=replace(training, epochs=epochs, trainable=trainable),
        tracking=replace(tracking, experiment=experiment),
        force=config.force or config.debug or config.verify,
    )
