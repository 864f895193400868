"""What a folder of images holds: its splits, its classes, its files; and what is wrong with it. Only names matter."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tlft.config.schema import DataConfig
from tlft.errors import ConfigurationError, nearest

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")

ByClass = dict[str, list[Path]]


@dataclass
class Folder:
    """The image files of a folder.

    Attributes:
        splits: for each of `train`, `eval` and perhaps `holdout`, the files of each class; or, for a folder that is
            still to be split, the one entry `all`.
        left_out: files and folders that do not count as images.
    """

    splits: dict[str, ByClass] = field(default_factory=dict)
    left_out: list[Path] = field(default_factory=list)

    @property
    def classes(self) -> list[str]:
        """Names of all classes, sorted."""
        return sorted({name for by_class in self.splits.values() for name in by_class})


def scan(root: Path, config: DataConfig) -> Folder:
    """List a folder with `train/<class>/*` and `val/<class>/*`, or with `<class>/*` alone.

    A folder `test` beside `train` and `val` reports, and `val` is then the hold-out.

    Raises:
        ConfigurationError: with every problem, such as a missing split, a single class, a class in one split only.
    """
    folder = Folder()
    try:
        _check_root(root, config)
        for split, name in _split_folders(root, config).items():
            folder.splits[split] = _list_classes(root / name if name else root, folder.left_out)
    except PermissionError as error:
        message = f"{error.filename}: may not be read; give yourself the right to (chmod u+rX)"
        raise ConfigurationError(message) from None
    if problems := _class_problems(root, folder):
        raise ConfigurationError(problems)
    return folder


def _check_root(root: Path, config: DataConfig) -> None:
    if root.is_file():
        raise ConfigurationError(f"data.root={root}: is a file; name the folder that holds the images")
    if not root.is_dir():
        siblings = [p.name for p in root.parent.iterdir() if p.is_dir()] if root.parent.is_dir() else []
        key = "data.root" if config.root else "TLFT_HYMENOPTERA"
        beside = nearest(root.name, siblings).replace("did you mean ", f"did you mean {str(root.parent).rstrip('/')}/")
        raise ConfigurationError(f"{key}={root}: no such folder{beside}")
    if not any(root.iterdir()):
        raise ConfigurationError(f"data.root={root}: the folder is empty; put train/<class>/* and val/<class>/* there")


def _split_folders(root: Path, config: DataConfig) -> dict[str, str]:
    """Say which subfolder serves as which split; `all` is the root itself, to be split by `data.eval_fraction`."""
    subfolders = sorted(path.name for path in root.iterdir() if path.is_dir())
    has_train = config.train_split in subfolders
    if config.eval_fraction is not None:
        if has_train:
            raise ConfigurationError(
                f"data.eval_fraction={config.eval_fraction}: {root} has a folder {config.train_split} already; leave "
                f"data.eval_fraction out, or name the folder of classes (data.root={root / config.train_split})"
            )
        return {"all": ""}
    evaluation = config.eval_split or next((name for name in ("test", "val") if name in subfolders), None)
    problems = []
    if not has_train:
        problems.append(
            f"data.root={root}: has no folder {config.train_split} (there are {', '.join(subfolders) or 'none'}); "
            "name it with data.train_split, or split <class>/* with data.eval_fraction=0.2"
        )
    if has_train and evaluation is None:
        problems.append(f"data.root={root}: has no folder val or test; name it with data.eval_split")
    elif evaluation is not None and evaluation not in subfolders:
        problems.append(f"data.eval_split={evaluation}: no such folder in {root}{nearest(evaluation, subfolders)}")
    holdout = {"holdout": "val"} if evaluation == "test" and config.eval_split is None and "val" in subfolders else {}
    if holdout and config.holdout_fraction is not None:
        problems.append(
            f"data.holdout_fraction={config.holdout_fraction}: {root} has train, val and test, and val is the "
            "hold-out; leave data.holdout_fraction out, or set data.eval_split=val"
        )
    if problems:
        raise ConfigurationError(problems)
    return {"train": config.train_split, "eval": str(evaluation), **holdout}


def _list_classes(split: Path, left_out: list[Path]) -> ByClass:
    by_class: ByClass = {}
    for entry in _list_visible(split):
        if not entry.is_dir():
            left_out.append(entry)
            continue
        files: list[Path] = []
        for path in _list_visible(entry):
            is_file = path.is_file() or path.is_symlink()  # a pipe would be waited for; a broken link is named later
            is_image = path.suffix.lower() in EXTENSIONS and is_file and not path.is_dir()
            (files if is_image else left_out).append(path)
        if files:
            by_class[entry.name] = files
    return by_class


def _list_visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _class_problems(root: Path, folder: Folder) -> list[str]:
    classes = folder.classes
    if not classes:
        return [f"data.root={root}: no image in any class folder (extensions {', '.join(EXTENSIONS)})"]
    if len(classes) == 1:
        return [f"data.root={root}: has the one class {classes[0]}; give at least two class folders"]
    return [
        f"data.root={root}: class {name} has no image in the {split} split; add some or drop the class"
        for name in classes
        for split, by_class in folder.splits.items()
        if name not in by_class
    ]
