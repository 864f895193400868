"""The schema of the configuration, and what each key means: `--help` and docs/reference.md are made of the docstrings.

What the values must be is checked elsewhere (see validate.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from tlft.config.data_schema import DataConfig
from tlft.config.recipe_schema import AugmentConfig, OptimizerConfig, ScheduleConfig, TrainingConfig


@dataclass
class PathsConfig:
    """Where files are written.

    Attributes:
        home: the folder that holds everything written; TLFT_HOME, else the project's (of an installed tlft: the current
            one).
    """

    home: str = "${tlft.home:}"


@dataclass
class ArchConfig:
    """The network, and the weights whose transform its images are prepared with.

    Attributes:
        name: of the network, as its library calls it (`python -m tlft.models` lists them).
        library: that builds it.
        weights: those published for it; auto: the library's own choice.
        bn_momentum: with which pretrained batch-norm statistics follow the batches of a fine-tuning; null leaves it to
            the library.
    """

    name: str = MISSING
    library: str = MISSING
    weights: str = "auto"
    bn_momentum: float | None = None


@dataclass
class ModelConfig:
    """Where the weights come from.

    Attributes:
        weights: which published weights; auto: the library's own choice.
        weights_file: a file of weights in place of the published one: safetensors, or a state dict, also within a
            training's checkpoint. Its classifier is left out where the head is new.
        run_id: of a logged run, whose weights are taken; models:/NAME@ALIAS too.
        keep_head: the new head begins as the classifier in that file, which has the same classes.
        stages: only so many first stages of the backbone have these weights, the rest is random; null: all.
    """

    name: str = MISSING
    weights: str | None = None
    weights_file: str | None = None
    run_id: str | None = None
    keep_head: bool = False
    stages: int | None = None


@dataclass
class HeadConfig:
    """The classifier: the 1000 outputs of ImageNet (imagenet1k), or a new one with an output for each class (task)."""

    name: str = MISSING


@dataclass
class CheckpointConfig:
    """Of an unfinished run; the same command goes on from its last one.

    Attributes:
        every_epochs: saved at the end of every so many epochs, though saving takes at most a twentieth of the time;
            null: not at ends of epochs.
        every_minutes: saved also in the middle of an epoch; null: not by time.
        keep: the last one is kept among the files of the finished run, so that a longer run can go on from it.
    """

    every_epochs: int | None = 1
    every_minutes: float | None = 5.0
    keep: bool = False


@dataclass
class CacheConfig:
    """Decoded images and features, which all runs share.

    Attributes:
        max_gb: gigabytes that they may take; more is said, and `python -m tlft.clean` deletes the longest unused; null:
            no limit.
    """

    max_gb: float | None = None


@dataclass
class ResumeConfig:
    """What a sweep does about runs that another process works on.

    Attributes:
        wait: for them to end; else they are left to it.
    """

    wait: bool = False


@dataclass
class SweepConfig:
    """What a sweep does when a job has failed, and what it ends with.

    Attributes:
        on_failure: continue with the other jobs, or stop starting more.
        choose: holdout names in the end the settings that are best on the hold-out, over their seeds; null: nothing.
        curve: a key that the jobs differ in, along which the end is drawn and said (see analysis.curve); null: none.
    """

    on_failure: str = "continue"
    choose: str | None = None
    curve: str | None = None


@dataclass
class TrackingConfig:
    """Where MLflow keeps the runs, and what it keeps of them.

    Attributes:
        uri: address of the store; null: mlflow.db in paths.home.
        experiment: in MLflow.
        weights: keep each run's weights, and a model that MLflow can load.
        source: keep the text of changes to the code that were not committed; commit and dirty state are kept anyway.
        tags: of your own, {name:text}.
    """

    uri: str | None = None
    experiment: str = "tlft"
    weights: bool = True
    source: bool = True
    tags: Any = None


@dataclass
class Config:
    """One run, whole: as it was asked for, or `resolve`d.

    Attributes:
        seed: initial weights, batch order and flips; splits have data.split_seed.
        device: auto, cpu, cuda (one that no other run has), cuda:1 (that very one), mps.
        precision: auto takes bfloat16 where the hardware has it; tf32 rounds the factors of products on NVIDIA's GPUs.
        threads: of the CPU; null: what this process may use.
        force: run again what is finished already, from the first epoch.
        plan: say what would run, and stop.
        features: auto computes what a frozen part of the network says of each image once, for all runs; off computes it
            in each epoch, to the same result.
        profile: keep of three training steps a trace and a table of where their time went, among the run's files.
        debug: one epoch of two batches, in an experiment of its own, never in the table.
        from_run: id of a logged run: repeat it from its own stored configuration, in an experiment of its own.
        verify: with from_run: say whether weights, predictions and metrics have the same bits; exit status 1 if not.
    """

    arch: ArchConfig = MISSING
    model: ModelConfig = MISSING
    head: HeadConfig = MISSING
    optimizer: OptimizerConfig = MISSING
    schedule: ScheduleConfig = MISSING
    augment: AugmentConfig = MISSING
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
    features: str = "auto"
    profile: bool = False
    debug: bool = False
    from_run: str | None = None
    verify: bool = False

    @property
    def home(self) -> Path:
        """The folder `paths.home`."""
        return Path(self.paths.home).expanduser().absolute()
