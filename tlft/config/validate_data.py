"""What is wrong with the part of a configuration that says which images there are; the disk is not looked at."""

from __future__ import annotations

import re

from tlft.config.data_schema import NEAR_DUPLICATES, DataConfig
from tlft.config.schema import Config
from tlft.errors import nearest


def wrong_data(config: Config) -> list[str]:
    """Return what contradicts itself in which images there are, and how they are split, a line each."""
    data = config.data
    problems = []
    if data.name == "imagefolder" and not data.root:
        problems.append("data=imagefolder: say which folder, data.root=/path/to/folder")
    if data.name in ("synthetic", "demo", "manifest") and data.root:
        problems.append(f"data={data.name} data.root={data.root}: takes no folder; use data=imagefolder")
    if data.name != "imagefolder":
        own = "the column split says" if data.name == "manifest" else f"data={data.name} has its own split"
        for key in ("eval_fraction", "folds", "eval_split", "holdout_split", "train_split")[
            2 * (data.name == "manifest") :
        ]:
            if getattr(data, key) not in (None, "train"):
                problems.append(f"data.{key}={getattr(data, key)}: {own}; use data=imagefolder")
    if data.eval_fraction is not None and (data.eval_split or data.holdout_split or data.train_split != "train"):
        problems.append(
            f"data.eval_fraction={data.eval_fraction}: splits <class>/* without folders of splits; leave it out, or "
            "data.eval_split, data.holdout_split and data.train_split"
        )
    if data.eval_fraction == 1:
        problems += _wrong_whole(config)
    if data.folds is not None:
        problems += _wrong_folds(data)
    elif data.fold:
        problems.append(f"data.fold={data.fold}: of how many? give data.folds too, such as data.folds=5")
    if data.white_level != "auto" and not (data.white_level.isdecimal() and int(data.white_level) > 0):
        problems.append(f"data.white_level={data.white_level}: give auto, or a whole number above 0, such as 4095")
    if data.holdout_split is not None and data.holdout_fraction is not None:
        problems.append(
            f"data.holdout_split={data.holdout_split} data.holdout_fraction={data.holdout_fraction}: give one of them"
        )
    if data.train_fraction is not None and data.train_per_class is not None:
        problems.append(
            f"data.train_fraction={data.train_fraction} data.train_per_class={data.train_per_class}: give one of them"
        )
    if data.eval_split is not None and data.eval_split == data.train_split:
        problems.append(f"data.eval_split={data.eval_split}: is data.train_split too; name another folder")
    if data.group not in (None, NEAR_DUPLICATES) and (problem := group_problem(data.group)):
        problems.append(f"data.group={data.group}: {problem}")
    return problems


def say_missing_holdout(config: Config) -> list[str]:
    """Return which settings need a hold-out, a line each; for images that have none, which the disk alone says."""
    data, training = config.data, config.training
    mend = "set data.holdout_fraction=0.2"
    if data.eval_fraction == 1:
        mend += " and a smaller data.eval_fraction"
    elif data.eval_fraction is None and data.folds is None:
        if data.name == "imagefolder":
            mend += " or data.holdout_split"
        elif data.name == "manifest":
            mend += ", or give some lines the split holdout"
    none = "and the evaluation images are not for that"
    problems = []
    if config.sweep.choose == "holdout":
        problems.append(
            f"sweep.choose=holdout: there is no hold-out to choose on, {none}; {mend}, or sweep.choose=null"
        )
    if training.patience is not None and training.trainable != "none" and training.epochs:
        wanted = f"training.patience={training.patience}"
        problems.append(f"{wanted}: there is no hold-out to look at, {none}; {mend}, or training.patience=null")
    return problems


def _wrong_whole(config: Config) -> list[str]:
    data, training = config.data, config.training
    if training.trainable != "none" and training.epochs:
        mend = "give less, or train nothing (training.trainable=none, as experiment=evaluate does)"
        return [f"data.eval_fraction=1: leaves no image to train on; {mend}"]
    drawn = ("holdout_fraction", "train_fraction", "train_per_class")
    return [
        f"data.eval_fraction=1 data.{key}={value}: all images report; leave one of them out"
        for key in drawn
        if (value := getattr(data, key)) is not None
    ]


def _wrong_folds(data: DataConfig) -> list[str]:
    folds = f"data.folds={data.folds}"
    problems = []
    for key in ("eval_fraction", "eval_split", "holdout_split"):
        if (value := getattr(data, key)) is not None:
            problems.append(f"{folds} data.{key}={value}: both say which images report; leave one of them out")
    if data.folds is not None and data.folds >= 2 and data.fold >= data.folds:
        problems.append(f"{folds} data.fold={data.fold}: the folds are 0 to {data.folds - 1}")
    return problems


def group_problem(pattern: str) -> str:
    """Return what is wrong with a regular expression that is to find the group of an image; nothing if it is right."""
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        return f"is no regular expression ({error}); write one such as '([^/]+)_[0-9]+'"
    mend = "put one pair of parentheses around what names the group ((?:...) does not count)"
    return "" if groups == 1 else f"has {groups} groups; {mend}{nearest(pattern, (NEAR_DUPLICATES,))}"
