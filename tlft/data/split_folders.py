"""Which sub-folder of a data set is trained on, which is held out and which reports, by their names.

What lies in them, and what is wrong with that, is the story of image_folder.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tlft.config.data_schema import DataConfig
from tlft.data.folder_names import is_image, list_visible
from tlft.errors import ConfigurationError, nearest
from tlft.storage.files import display_name

_VALIDATION = ("val", "valid", "validation")
_SYNONYMS = {"train": ("train", "training"), "validation": _VALIDATION, "test": ("test", "testing")}
_PLAIN = {"train": "train", "eval": "val"}


@dataclass(frozen=True)
class SplitFolders:
    """Which sub-folder serves as which split.

    Attributes:
        names: for each of `train`, `eval` and perhaps `holdout`, the name of the sub-folder; or, for a folder that is
            still to be split, the one entry `all` with an empty name.
        others: sub-folders that are not taken, each with the reason in a few words, or nothing.
    """

    names: Mapping[str, str]
    others: Mapping[str, str] = field(default_factory=dict)

    def describe(self) -> str:
        """Say which folders are taken; nothing for `train` and `val` alone, or if they are still to be split."""
        if "all" in self.names or (self.names == _PLAIN and not self.others):
            return ""
        roles = {"train": "is trained on", "holdout": "is the hold-out", "eval": "reports"}
        taken = [f"{display_name(self.names[split])} {role}" for split, role in roles.items() if split in self.names]
        others = [f"{display_name(name)}{f' ({reason})' if reason else ''}" for name, reason in self.others.items()]
        return ", ".join(taken) + (f"; not taken: {', '.join(others[:5])}" if others else "")


def find_split_folders(root: Path, config: DataConfig) -> SplitFolders:
    """Say which sub-folder serves as which split; `all` is the root, for `data.eval_fraction` or `folds` to split.

    `test` reports, and `val` (or `valid`, or `validation`) is then the hold-out; without `test` it reports. `training`
    and `testing` are understood too, and other letter case, where the plain names do not suffice. A folder of images
    without class folders, such as the `test` of a contest, is none of them.

    Raises:
        ConfigurationError: with every problem.
    """
    subfolders = [path.name for path in list_visible(root) if path.is_dir()]
    for key in ("eval_fraction", "folds"):
        if (value := getattr(config, key)) is None:
            continue
        if config.train_split in subfolders:
            raise ConfigurationError(
                f"data.{key}={value}: {root} has a folder {config.train_split} already; leave "
                f"data.{key} out, or name the folder of classes (data.root={root / config.train_split})"
            )
        return SplitFolders({"all": ""})
    roles = _roles(subfolders, config)
    unlabelled = {
        name: f"{count} image{'s' * (count != 1)} without class folders, so unlabelled"
        for role in ("test", "validation")
        if (name := roles.get(role)) and (count := _count_unlabelled(root, name, roles.get("train")))
    }
    roles = _roles([name for name in subfolders if name not in unlabelled], config)
    names = {"train": roles.get("train"), "eval": config.eval_split or roles.get("test") or roles.get("validation")}
    if config.holdout_split is not None:
        names["holdout"] = config.holdout_split
    elif config.eval_split is None and roles.keys() >= {"test", "validation"}:
        names["holdout"] = roles["validation"]
    if problems := _problems(root, config, subfolders, names, unlabelled):
        raise ConfigurationError(problems)
    taken = {split: str(name) for split, name in names.items()}
    others = {name: unlabelled.get(name, "") for name in subfolders if name not in taken.values()}
    return SplitFolders(taken, others)


def _roles(subfolders: Sequence[str], config: DataConfig) -> dict[str, str]:
    """Return the sub-folder for each of `train`, `validation` and `test` that there is one for."""
    plain = {"train": (config.train_split,), "validation": _VALIDATION, "test": ("test",)}
    roles = {role: name for role, names in plain.items() for name in reversed(names) if name in subfolders}
    is_complete = "train" in roles and (len(roles) > 1 or config.eval_split in subfolders)
    if config.train_split == "train" and not is_complete:
        by_name = {name.casefold(): name for name in reversed(subfolders)}
        for role, synonyms in _SYNONYMS.items():
            found = next((by_name[name] for name in synonyms if name in by_name), None)
            if found is not None:
                roles.setdefault(role, found)
    return roles


def _count_unlabelled(root: Path, name: str, train: str | None) -> int:
    """Return how many images a folder holds that has no folder of a class; 0 if it has one, or no image."""
    if train is None:
        return 0
    classes = {path.name.casefold() for path in list_visible(root / train) if path.is_dir()}
    entries = list_visible(root / name)
    folders = [path for path in entries if path.is_dir()]
    if len(folders) > 1 or any(path.name.casefold() in classes for path in folders):
        return 0
    return sum(map(is_image, entries)) + sum(is_image(path) for folder in folders for path in list_visible(folder))


def _problems(
    root: Path,
    config: DataConfig,
    subfolders: Sequence[str],
    names: Mapping[str, str | None],
    unlabelled: Mapping[str, str],
) -> list[str]:
    problems = []
    evaluation = names["eval"]
    if names["train"] is None:
        inner = [name for name in subfolders if (root / name / config.train_split).is_dir()]
        mend = f"did you mean data.root={root / inner[0]}?" if inner else "name it with data.train_split, or "
        mend += "" if inner else "split <class>/* with data.eval_fraction=0.2"
        listed = ", ".join(map(display_name, subfolders[:20])) + (", ..." if len(subfolders) > 20 else "")
        problems.append(f"data.root={root}: has no folder {config.train_split} (there are {listed or 'none'}); {mend}")
    elif evaluation is None and unlabelled:
        name, reason = next(iter(unlabelled.items()))
        problems.append(
            f"data.root={root}: {name} has {reason}, and there is no other folder to evaluate on; split the training "
            f"images (data.root={root / names['train']} data.eval_fraction=0.2), or give {name} class folders"
        )
    elif evaluation is None:
        problems.append(f"data.root={root}: has no folder val or test; name it with data.eval_split")
    if evaluation is not None and evaluation not in subfolders:
        problems.append(f"data.eval_split={evaluation}: no such folder in {root}{nearest(evaluation, subfolders)}")
    elif evaluation is not None and (count := _count_unlabelled(root, evaluation, names["train"])):
        problems.append(
            f"data.eval_split={evaluation}: has {count} images without class folders, so unlabelled; name another"
        )
    problems += _holdout_problems(root, config, subfolders, names)
    if names.get("holdout") and config.holdout_fraction is not None:
        problems.append(
            f"data.holdout_fraction={config.holdout_fraction}: {root} has {names['train']}, {names['holdout']} and "
            f"{evaluation}, and {names['holdout']} is the hold-out; set data.holdout_fraction=null, or "
            f"data.eval_split={names['holdout']}"
        )
    return problems


def _holdout_problems(
    root: Path, config: DataConfig, subfolders: Sequence[str], names: Mapping[str, str | None]
) -> list[str]:
    name = config.holdout_split
    if name is None:
        return []
    if name not in subfolders:
        return [f"data.holdout_split={name}: no such folder in {root}{nearest(name, subfolders)}"]
    for split, use, key in (("train", "is trained on", "data.train_split"), ("eval", "reports", "data.eval_split")):
        if name == names[split]:
            return [f"data.holdout_split={name}: {use}; name another folder, or another with {key}"]
    if count := _count_unlabelled(root, name, names["train"]):
        return [f"data.holdout_split={name}: has {count} images without class folders, so unlabelled; name another"]
    return []
