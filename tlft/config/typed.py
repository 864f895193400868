"""What Hydra is told of the schema, and what it has composed as plain dataclasses, or with other values."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf, open_dict

from tlft.config.data_schema import DataConfig, ManifestConfig, SyntheticConfig
from tlft.config.paths import home_folder
from tlft.config.recipe_schema import (
    AdamConfig,
    AdamWConfig,
    CropConfig,
    MixConfig,
    RandConfig,
    SgdConfig,
    StepConfig,
    TorchConfig,
)
from tlft.config.schema import Config


def register() -> None:
    """Tell Hydra the schemas and the resolvers; calling it again changes nothing."""
    OmegaConf.register_new_resolver("tlft.home", lambda: str(home_folder()), replace=True)
    store = ConfigStore.instance().store
    store(name="schema", node=Config)
    options: dict[str, type] = {"optimizer/sgd": SgdConfig, "optimizer/adam": AdamConfig}
    options |= {"optimizer/adamw": AdamWConfig, "optimizer/torch": TorchConfig, "schedule/step": StepConfig}
    options |= {"augment/crop": CropConfig, "augment/rand": RandConfig, "augment/mix": MixConfig}
    options |= {"data/imagefolder": DataConfig, "data/manifest": ManifestConfig, "data/synthetic": SyntheticConfig}
    for option, node in options.items():  # groups below hydra/ are not listed among the options that a user has
        group, name = option.split("/")
        store(group=f"hydra/schema/{group}", name=name, node=node)


def to_config(cfg: DictConfig) -> Config:
    """Turn what Hydra composed into plain dataclasses, every interpolation resolved, with the values as they stand."""
    plain = copy.deepcopy(cfg)
    with open_dict(plain):
        plain.pop("hydra", None)
    return task_to_config(plain)


def task_to_config(task: DictConfig) -> Config:
    """Do the same of what was composed without Hydra's own node."""
    config = OmegaConf.to_object(task)
    assert isinstance(config, Config)
    return config


def with_values(config: DictConfig, values: Mapping[str, object]) -> DictConfig:
    """Return a copy of what Hydra composed with other values of some dotted keys."""
    copied = copy.deepcopy(config)
    with open_dict(copied):
        for key, value in values.items():
            OmegaConf.update(copied, key, value)
    return copied
