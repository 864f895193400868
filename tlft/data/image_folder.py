"""What a folder of images holds: its splits, its classes, its files; and what is wrong with it. Only names matter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tlft.config.data_schema import DataConfig
from tlft.data.folder_names import EXTENSIONS, class_name, is_image, list_visible, rename_command, walk_visible
from tlft.data.split_folders import SplitFolders, find_split_folders
from tlft.errors import ConfigurationError, nearest
from tlft.names import natural_order
from tlft.storage.files import display_name, name_problem, relative_name

ByClass = dict[str, list[Path]]

_BESIDE = "image{} beside the class folders"
_BELOW = "image{} in folders below a class"
_MOST_KINDS = 8
_MOST_LINES = 10


@dataclass
class Folder:
    """The image files of a folder.

    Attributes:
        root: where names of files begin.
        source: the key that names the images, with its value, as messages begin: `data.root=...` or `data.file=...`.
        split_folders: which sub-folder serves as which split.
        splits: for each of `train`, `eval` and perhaps `holdout`, the files of each class; or, for a folder that is
            still to be split, the one entry `all`.
        left_out: files that are not taken, each with its kind: an extension, or a few words with a place for a plural.
        respelled: classes of which one split has two folders, whose names differ in their Unicode form alone.
        groups: of each file, where it is stated beside the files (see manifest.py); perhaps an empty text.
        places: where a table names each file, such as `line 3`; nothing of a folder.
    """

    root: Path
    source: str
    split_folders: SplitFolders
    splits: dict[str, ByClass] = field(default_factory=dict)
    left_out: dict[Path, str] = field(default_factory=dict)
    respelled: list[str] = field(default_factory=list)
    groups: dict[Path, str] = field(default_factory=dict)
    places: dict[Path, str] = field(default_factory=dict)

    @property
    def classes(self) -> list[str]:
        """Names of all classes, in natural order; one that has a folder and no image is among them."""
        return sorted({name for by_class in self.splits.values() for name in by_class}, key=natural_order)

    def name_of(self, path: Path, *facts: str) -> str:
        """Name a file by its path below the root, with where a table names it and what else is to be said of it."""
        about = ", ".join((*([self.places[path]] if path in self.places else []), *facts))
        return relative_name(path, self.root) + (f" ({about})" if about else "")


def describe_kinds(left_out: Iterable[str]) -> str:
    """Return how many files of each kind are left out, such as `3 .heic, 1 .gif`, in some hundred characters."""
    counts = Counter(left_out).most_common()
    texts = [
        f"{count} {kind.format('s' * (count != 1)) if '{}' in kind else display_name(kind)[:20]}"
        for kind, count in counts
    ]
    more = sum(count for _, count in counts[_MOST_KINDS:])
    return ", ".join(texts[:_MOST_KINDS]) + (f", {more} of other kinds" if more else "")


@dataclass
class _ClassFolder:
    """What lies in the folders of one class in one split: images, images in folders below, and other files by kind."""

    images: list[Path] = field(default_factory=list)
    below: list[Path] = field(default_factory=list)
    others: dict[Path, str] = field(default_factory=dict)


_Contents = dict[str, dict[str, _ClassFolder]]
"""What lies in the class folders, by split and class."""


def scan(root: Path, config: DataConfig) -> Folder:
    """List a folder with `train/<class>/*` and `val/<class>/*`, or with `<class>/*` alone.

    Raises:
        ConfigurationError: with every problem, such as a missing split, a single class, a class without images.
    """
    contents: _Contents = {}
    problems: list[str] = []
    try:
        _check_root(root, config)
        folder = Folder(root, f"data.root={root}", find_split_folders(root, config))
        for split, name in folder.split_folders.names.items():
            contents[split] = _list_split(root / name if name else root, folder, problems)
    except PermissionError as error:
        message = f"{error.filename}: may not be read; give yourself the right to (chmod u+rX)"
        raise ConfigurationError(message) from None
    include = config.subfolders == "include"
    for split, classes in contents.items():
        folder.splits[split] = {name: one.images + (one.below if include else []) for name, one in classes.items()}
        for one in classes.values():
            folder.left_out |= one.others | dict.fromkeys([] if include else one.below, _BELOW)
    unsettled = config.subfolders == "error"
    problems = problems or _class_problems(folder, contents, unsettled=unsettled)
    problems += _images_below(root, contents) if unsettled else []
    if problems:
        raise ConfigurationError([f"{folder.source}: {problem}" for problem in problems])
    return folder


def _check_root(root: Path, config: DataConfig) -> None:
    if problem := name_problem(str(root)):
        raise ConfigurationError(f"data.root={display_name(root)}: {problem}")
    if root.is_file():
        raise ConfigurationError(f"data.root={root}: is a file; name the folder that holds the images")
    if not root.is_dir():
        siblings = [p.name for p in root.parent.iterdir() if p.is_dir()] if root.parent.is_dir() else []
        key = "data.root" if config.root else "TLFT_HYMENOPTERA"
        beside = nearest(root.name, siblings).replace("did you mean ", f"did you mean {str(root.parent).rstrip('/')}/")
        raise ConfigurationError(f"{key}={root}: no such folder{beside}")
    if not any(root.iterdir()):
        raise ConfigurationError(f"data.root={root}: the folder is empty; put train/<class>/* and val/<class>/* there")


def _list_split(split: Path, folder: Folder, problems: list[str]) -> dict[str, _ClassFolder]:
    """Return what lies in the class folders of a split; what lies beside them is left out."""
    by_class: dict[str, _ClassFolder] = {}
    for entry in list_visible(split):
        if not entry.is_dir():
            folder.left_out[entry] = _BESIDE if is_image(entry) else _kind(entry)
            continue
        try:
            name = class_name(entry)
        except UnicodeDecodeError:
            problems.append(
                f"class folder {split.name}/{display_name(entry.name)} has a name that is no UTF-8; rename it: "
                f"{rename_command(entry)}"
            )
            continue
        if name in by_class:
            folder.respelled.append(name)
        one = by_class.setdefault(name, _ClassFolder())
        for path in list_visible(entry):
            below = path.is_dir()
            for file in walk_visible(path) if below else [path]:
                if is_image(file):
                    (one.below if below else one.images).append(file)
                else:
                    one.others[file] = _kind(file)
    return by_class


def _kind(path: Path) -> str:
    if not path.is_file() and not path.is_symlink():
        return "special file{}"
    return path.suffix.lower() or "without an extension"


def _images_below(root: Path, contents: _Contents) -> list[str]:
    below = [path for classes in contents.values() for one in classes.values() for path in one.below]
    if not below:
        return []
    return [
        f"{len(below)} {_BELOW.format('s' * (len(below) != 1))}, as in {relative_name(below[0].parent, root)}; move "
        "them up, or set data.subfolders=include (they are images of the class) or data.subfolders=ignore"
    ]


def _class_problems(folder: Folder, contents: _Contents, *, unsettled: bool) -> list[str]:
    """Return which classes lack images; not for those in folders below, if it is `unsettled` what becomes of them."""
    classes = folder.classes
    below = {(split, name) for split, of_split in contents.items() for name, one in of_split.items() if one.below}
    if not any(files for by_class in folder.splits.values() for files in by_class.values()):
        if unsettled and below:
            return []
        kinds = describe_kinds(folder.left_out.values())
        there = f"; there are {kinds}" if kinds else ""
        return [f"no image in any class folder (extensions {', '.join(EXTENSIONS)}){there}"]
    if len(classes) == 1:
        return [f"has the one class {classes[0]}; give at least two class folders"]
    problems = [
        f"class {name} has no image in the {split} split{_why(name, contents[split])}"
        for name in classes
        for split, by_class in folder.splits.items()
        if not by_class.get(name) and not (unsettled and (split, name) in below)
    ]
    more = [f"so it is with {len(problems) - _MOST_LINES} more"] if len(problems) > _MOST_LINES else []
    return problems[:_MOST_LINES] + more


def _why(name: str, classes: Mapping[str, _ClassFolder]) -> str:
    """Say why a class has no image in a split, and what to do."""
    if name not in classes:
        others = [other for other in classes if other.casefold() == name.casefold()]
        return f", which has {others[0]}; give both one name" if others else "; add some or drop the class"
    one = classes[name]
    if kinds := describe_kinds([*one.others.values(), *[_BELOW] * len(one.below)]):
        return f", but {kinds}; convert or move them, or delete the folder"
    return ", its folder is empty; add some or delete the folder"
