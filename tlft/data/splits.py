"""Split images into those that are trained on, held out and reported, by their content alone; never through a group."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from tlft.config.data_schema import NEAR_DUPLICATES, DataConfig
from tlft.config.validate_data import group_problem
from tlft.data.image_folder import Folder
from tlft.data.manifest import manifest_path
from tlft.errors import ConfigurationError
from tlft.storage.files import relative_name


@dataclass(frozen=True)
class ImageFile:
    """One image file of a split (`train`, `holdout` or `eval`); the label is an index into the data set's classes.

    `group` names the images that are not independent of it, as `data.group` finds it; nothing without groups.
    """

    path: Path
    sha256: str
    split: str
    label: int
    group: str = ""


_Images = list[tuple[Path, int]]
"""Files, each with its label."""


def split_images(folder: Folder, digests: Mapping[Path, str], config: DataConfig) -> list[ImageFile]:
    """Return each image with its split.

    Raises:
        ConfigurationError: if a class has no image left for a split, or `data.group` does not fit the files.
    """
    labels = {name: label for label, name in enumerate(folder.classes)}
    splits: dict[str, _Images] = {
        split: [(path, labels[name]) for name in folder.classes for path in by_class[name]]
        for split, by_class in folder.splits.items()
    }
    groups = groups_of(folder, config)
    units = {path: groups.get(path) or digest for path, digest in digests.items()}

    def draw(images: _Images, fraction: float, purpose: str) -> tuple[_Images, _Images]:
        """Return the drawn files, and those that are left."""
        drawn = _draw_units(images, units, digests, fraction, f"{config.split_seed} {purpose}")
        return _divide(images, lambda path: units[path] in drawn)

    if "all" in splits and config.folds is not None:
        fold_of = _draw_folds(splits["all"], units, digests, config, folder.classes)
        splits["eval"], splits["train"] = _divide(splits.pop("all"), lambda path: fold_of[units[path]] == config.fold)
    elif "all" in splits and config.eval_fraction == 1:
        splits["eval"] = splits.pop("all")
    elif "all" in splits:
        splits["eval"], splits["train"] = draw(splits.pop("all"), config.eval_fraction or 0, "eval")
    if config.holdout_fraction is not None:
        splits["holdout"], splits["train"] = draw(splits["train"], config.holdout_fraction, "holdout")
    if config.train_fraction is not None:
        _, splits["train"] = draw(splits["train"], 1 - config.train_fraction, "subset")
    if config.train_per_class is not None:
        splits["train"] = _first_of_each_class(splits["train"], units, digests, config, folder.classes)
    _refuse_empty(splits, folder, config)
    return [
        ImageFile(path, digests[path], split, label, groups.get(path, ""))
        for split, files in splits.items()
        for path, label in files
    ]


def _divide(images: _Images, is_taken: Callable[[Path], bool]) -> tuple[_Images, _Images]:
    """Return the images that are taken, and the others."""
    return [each for each in images if is_taken(each[0])], [each for each in images if not is_taken(each[0])]


def groups_of(folder: Folder, config: DataConfig) -> dict[Path, str]:
    """Return the group of each file: by its path below the root, or as a manifest states it; nothing without either.

    Raises:
        ConfigurationError: if `data.group` finds none in some file, or one that stands in two of the folder's splits.
    """
    if config.group == NEAR_DUPLICATES or (
        config.group is not None and group_problem(config.group)
    ):  # which is said elsewhere
        return {}
    if config.group is None and not folder.groups:
        return {}
    split_of = {
        path: split for split, by_class in folder.splits.items() for files in by_class.values() for path in files
    }
    groups = {path: group for path, group in folder.groups.items() if group}
    if config.group is not None:
        names = [relative_name(path, folder.root) for path in split_of]
        groups = dict(zip(split_of, find_groups(names, config.group, "data.group"), strict=True))
    first: dict[str, Path] = {}
    cut: dict[str, tuple[Path, Path]] = {}
    for path, group in groups.items():
        if split_of[first.setdefault(group, path)] != split_of[path]:
            cut.setdefault(group, (first[group], path))
    for group, pair in cut.items():
        more = f" ({len(cut) - 1} more such groups)" if len(cut) > 1 else ""
        where = " and ".join(folder.name_of(path, split_of[path]) for path in pair)
        source = f"data.group={config.group}" if config.group else f"{folder.source}: column group"
        problem = f"group {group} stands in two splits, {where}, which makes the figure wrong"
        raise ConfigurationError(f"{source}: {problem}; move it into one{more}")
    return groups


def source_of_groups(folder: Folder, config: DataConfig) -> str:
    """Say where groups are from that no split that is drawn goes through; nothing without groups."""
    if config.group is not None:
        return "" if config.group == NEAR_DUPLICATES else f"data.group={config.group}"
    return f"column group of {manifest_path(config).name}" if folder.groups else ""


def find_groups(names: Sequence[str], pattern: str, key: str) -> list[str]:
    """Return what the one group of a regular expression, the value of `key`, finds in each name.

    Raises:
        ConfigurationError: if it finds nothing in some of them.
    """
    matches = [re.search(pattern, name) for name in names]
    groups = [(match.group(1) or "") if match else "" for match in matches]
    if missing := [name for name, group in zip(names, groups, strict=True) if not group]:
        more = f" and in {len(missing) - 1} of {len(names) - 1} other names" if len(missing) > 1 else ""
        raise ConfigurationError(
            f"{key}={pattern}: finds no group in {missing[0]}{more}; let it match each file's path below the folder"
        )
    return groups


def _draw_units(
    images: _Images, units: Mapping[Path, str], digests: Mapping[Path, str], fraction: float, purpose: str
) -> set[str]:
    """Draw a share of the images, whole units of them, by their content, so that names, order and copies cannot matter.

    Each set of classes that units have is drawn from by itself. A larger fraction holds all of a smaller one; of
    several units of a kind at least one is drawn and one is left.
    """
    if fraction <= 0:
        return set()
    labels, files = _of_units(images, units, digests)
    kinds: dict[tuple[int, ...], list[str]] = {}
    for unit, its_labels in labels.items():
        kinds.setdefault(tuple(sorted(its_labels)), []).append(unit)
    drawn: set[str] = set()
    for members in kinds.values():
        ranked = sorted(members, key=_rank(purpose, files))
        drawn.update(_first(ranked, fraction, [len(files[unit]) for unit in ranked]))
    return drawn


def _draw_folds(
    images: _Images,
    units: Mapping[Path, str],
    digests: Mapping[Path, str],
    config: DataConfig,
    classes: Sequence[str],
) -> dict[str, int]:
    """Return the fold of each unit: whole units, as many images of each class in each as can be, drawn by content.

    Raises:
        ConfigurationError: if a class has fewer units than there are folds.
    """
    folds = config.folds or 0
    labels, files = _of_units(images, units, digests)
    counts = Counter(label for its_labels in labels.values() for label in its_labels)
    in_groups = {label for path, label in images if units[path] != digests[path]}
    scarce = [label for label in range(len(classes)) if counts[label] < folds]
    if scarce:
        count = counts[scarce[0]]
        what = f"{count} {'group' if scarce[0] in in_groups else 'image'}{'s' * (count != 1)}"
        mend = "give at most that many folds" if count > 1 else "add some"
        more = f" (so it is with {len(scarce) - 1} more)" if len(scarce) > 1 else ""
        problem = f"class {classes[scarce[0]]} has {what}, so that not every fold has one; {mend}{more}"
        raise ConfigurationError(f"data.folds={folds}: {problem}")
    sizes: dict[tuple[tuple[int, ...], int], int] = {}
    whole = [0] * folds
    fold_of: dict[str, int] = {}
    for unit in sorted(labels, key=_rank(f"{config.split_seed} folds", files)):
        kind = tuple(sorted(labels[unit]))
        fold = min(range(folds), key=lambda fold: (sizes.get((kind, fold), 0), whole[fold], fold))
        fold_of[unit] = fold
        sizes[kind, fold] = sizes.get((kind, fold), 0) + len(files[unit])
        whole[fold] += len(files[unit])
    return fold_of


def _of_units(
    images: _Images, units: Mapping[Path, str], digests: Mapping[Path, str]
) -> tuple[dict[str, set[int]], dict[str, set[str]]]:
    """Return the classes and the images (their digests) of each unit."""
    labels: dict[str, set[int]] = {}
    files: dict[str, set[str]] = {}
    for path, label in images:
        labels.setdefault(units[path], set()).add(label)
        files.setdefault(units[path], set()).add(digests[path])
    return labels, files


def _first_of_each_class(
    images: _Images,
    units: Mapping[Path, str],
    digests: Mapping[Path, str],
    config: DataConfig,
    classes: Sequence[str],
) -> _Images:
    """Return `data.train_per_class` images of each class, as the same draw as `data.train_fraction` orders them.

    So fewer lie within more. A group is taken whole before the next, as far as the number allows.

    Raises:
        ConfigurationError: with a line for each class that has fewer.
    """
    wanted = config.train_per_class or 0
    _, files = _of_units(images, units, digests)
    rank = _rank(f"{config.split_seed} subset", files)
    ranks = {unit: rank(unit) for unit in files}
    ordered = sorted(images, key=lambda image: (ranks[units[image[0]]], digests[image[0]]), reverse=True)
    by_label: dict[int, _Images] = {label: [] for label in range(len(classes))}
    for image in ordered:
        by_label[image[1]].append(image)
    kept, problems = [], []
    for name, of_class in zip(classes, by_label.values(), strict=True):
        if len(of_class) < wanted:
            problems.append(
                f"data.train_per_class={wanted}: class {name} has {len(of_class)} images to train on; give at most that"
            )
        kept += of_class[:wanted]
    if problems:
        raise ConfigurationError(problems)
    return kept


def _rank(purpose: str, files: Mapping[str, Iterable[str]]) -> Callable[[str], bytes]:
    return lambda unit: hashlib.sha256(f"{purpose} {min(files[unit])}".encode()).digest()


def _first(ranked: Sequence[str], fraction: float, sizes: Sequence[int]) -> Sequence[str]:
    """Return so many of the first units as come nearest to a share of the images, but one at least and not all."""
    wanted = math.floor(fraction * sum(sizes) + 0.5)
    counts = [0, *accumulate(sizes)]
    nearest = min(range(len(counts)), key=lambda number: abs(counts[number] - wanted))
    return ranked[: min(max(nearest, 1), len(ranked) - 1)]


def _refuse_empty(splits: Mapping[str, _Images], folder: Folder, config: DataConfig) -> None:
    source = source_of_groups(folder, config)
    groups = f", in more groups than one ({source})" if source else ""
    labels = {split: {label for _, label in files} for split, files in splits.items()}
    for label, name in enumerate(folder.classes):
        for split in splits:
            if label not in labels[split]:
                problem = f"no image of class {name} is left for the {split} split; add images{groups}"
                raise ConfigurationError(f"data: {problem}")
