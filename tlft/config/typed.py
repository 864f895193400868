"""What Hydra is told of the schema, and what it has composed as plain dataclasses, or with other values."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from typing import get_args, get_type_hints

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
    """Turn what Hydra composed into plain dataclasses, every interpolation resolved, with the values as they stand.

    What `${now:...}` comes to here it comes to in `cfg` from now on.
    """
    plain = copy.deepcopy(cfg)
    with open_dict(plain):
        plain.pop("hydra", None)
    config = task_to_config(plain)
    OmegaConf.copy_cache(from_config=plain, to_config=cfg)
    return config


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


def quote_texts(overrides: Sequence[str]) -> list[str]:
    """Return overrides in which texts are quoted that Hydra would take for numbers and write otherwise.

    Such as 414681e3, the beginning of a run's id, which would come back as 414681000.0.
    """
    return [
        key + equals + _NUMBER.sub(_quoted, value) if key.lstrip("+") in text_keys() else override
        for override in overrides
        for key, equals, value in [override.partition("=")]
    ]


_NUMBER = re.compile(r"(?<![^,])[+-]?[\d_]*\.?[\d_]+(e[+-]?\d+)?(?![^,])", re.IGNORECASE)


def _quoted(match: re.Match[str]) -> str:
    text = match[0]
    try:
        read = str(int(text)) if text.lstrip("+-").replace("_", "").isdecimal() else str(float(text))
    except ValueError:  # no number for Hydra either
        return text
    return text if read == text else f'"{text}"'


@cache
def text_keys() -> frozenset[str]:
    """Return the keys, of any option, whose values are texts: dotted names."""
    return frozenset(_text_keys(Config))


def _text_keys(schema: type, prefix: str = "") -> Iterator[str]:
    hints = get_type_hints(schema)
    for field in fields(schema):
        kinds = {hints[field.name], *get_args(hints[field.name])} - {type(None)}
        for kind in kinds:
            if is_dataclass(kind) and isinstance(kind, type):
                for option in (kind, *kind.__subclasses__()):
                    yield from _text_keys(option, f"{prefix}{field.name}.")
        if str in kinds:
            yield f"{prefix}{field.name}"
