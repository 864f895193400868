"""What the steps of one run share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tlft.config.schema import Config
from tlft.data.dataset import Dataset
from tlft.runs.identify import Identity
from tlft.runtime.device import Machine
from tlft.tracking.active_run import ActiveRun
from tlft.tracking.store import Store

if TYPE_CHECKING:
    from torch import nn

    from tlft.data.batches import Images
    from tlft.duplicates.near_duplicates import Pair
    from tlft.training.step_profile import StepProfile


@dataclass(frozen=True)
class SweepMembership:
    """What a run is told of the sweep that it is part of.

    Attributes:
        name: of the preset that the sweep was made of, or `custom`; empty if another sweeper than tlft's made it.
        parent: id of the run that stands for the sweep, if it has one.
        settings: of the run, in which the sweep's runs differ, such as `lr 0.1`.
        dataset: the images that the sweep was planned with, so that no job lists and digests them anew; None if the run
            is to open them itself.
    """

    name: str = ""
    parent: str | None = None
    dataset: Dataset | None = None
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunContext:
    """One run while it is computed: what it is, where it is logged, and what it is computed with.

    Attributes:
        composed: the configuration as Hydra composed it (YAML), kept with the run.
        near_duplicates: pairs of images that are nearly the same; None if they were not looked for.
        profile: of some steps, where it was asked for.
    """

    config: Config
    identity: Identity
    composed: str
    machine: Machine
    store: Store
    run: ActiveRun
    model: nn.Module
    images: Images
    near_duplicates: list[Pair] | None
    profile: StepProfile | None = None
