"""Which images a run sees: find or fetch the folder, digest its files, split them.

Nothing is decoded here, and no torch comes in: a run's identity needs the data's digest first.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from tlft.config.data_schema import DataConfig, ManifestConfig
from tlft.data import image_folder
from tlft.data.manifest import manifest_path, read_manifest
from tlft.data.shared_images import refuse_shared_images
from tlft.data.splits import ImageFile, groups_of, source_of_groups, split_images
from tlft.errors import ConfigurationError, TlftError
from tlft.names import DRAWINGS
from tlft.pixels.transforms import White
from tlft.pixels.white_level import find_white
from tlft.runtime.download import fetch, unpack_zip
from tlft.storage.files import atomic_write, display_name, relative_name, sha256_of
from tlft.storage.looking import look

log = logging.getLogger(__name__)

HYMENOPTERA_URL = "https://download.pytorch.org/tutorial/hymenoptera_data.zip"
HYMENOPTERA_SHA256 = "fbc41b31d544714d18dd1230b1e2b455e1557766e13e67f9f5a7a23af7c02209"
HYMENOPTERA_BYTES = 47_286_322
SECONDS_FOR_A_DEMO = 20.0


@dataclass(frozen=True)
class Dataset:
    """The images of a run, in an order that follows their content and not their names.

    Attributes:
        name: what people call it: `hymenoptera`, `synthetic`, or the folder's name.
        root: where the names of its files begin.
        source: the key that names it, with its value, as messages begin: `data.root=...` or `data.file=...`.
        classes: names, in natural order; a label is an index into them.
        images: sorted by split, class and SHA-256.
        left_out: files in the folder that are not taken, each with its kind.
        split_folders: which folders are taken, in words; nothing for `train` and `val` alone.
        origin: where the images are from, in words; nothing where nobody has said it.
        white: what is white in images of more than eight bits.
        whole: SHA-256 of all images of the folder, used or not, as `digests` are, and of the groups of a table;
            empty but for cross-validation.
        of: the whole, where classes are left out.
        grouping: where the groups are from, where `data.group` does not say it; nothing without groups.
    """

    name: str
    root: Path
    source: str
    classes: tuple[str, ...]
    images: tuple[ImageFile, ...]
    left_out: Mapping[Path, str] = field(default_factory=dict)
    split_folders: str = ""
    origin: str = ""
    grouping: str = ""
    whole: str = ""
    white: White = field(default_factory=White)
    of: Dataset | None = None

    def only(self, classes: Collection[str]) -> Dataset:
        """Return the images of some classes alone, which remembers the others."""
        if set(classes) >= set(self.classes):
            return self
        kept = {name: label for label, name in enumerate(name for name in self.classes if name in classes)}
        images = tuple(
            replace(image, label=kept[name]) for image in self.images if (name := self.classes[image.label]) in kept
        )
        return replace(self, classes=tuple(kept), images=images, of=self)

    def split(self, name: str) -> tuple[ImageFile, ...]:
        """Return the images of `train`, `holdout` or `eval`."""
        return tuple(image for image in self.images if image.split == name)

    @property
    def files(self) -> dict[str, Path]:
        """A path for the SHA-256 of each image."""
        return {image.sha256: image.path for image in self.images}

    @cached_property
    def digests(self) -> dict[str, str]:
        """SHA-256 of each split that has images, over its sorted (class, file SHA-256)."""
        lines: dict[str, list[str]] = {}
        for image in self.images:
            lines.setdefault(image.split, []).append(_line(self.classes[image.label], image.sha256))
        return {split: _digest_lines(part) for split, part in lines.items()}


@dataclass(frozen=True)
class _Names:
    """What the names in a folder say: its classes, if they are known, what is wrong, and whether it has a hold-out."""

    classes: list[str] | None = None
    problems: list[str] = field(default_factory=list)
    has_holdout: bool = False


def find_problems(config: DataConfig, home: Path) -> tuple[list[str] | None, list[str]]:
    """Look at the folder's names only.

    Returns:
        The class names as far as they can be known without fetching anything, and the problems, a line each.
    """
    names = _look(config, home)
    return names.classes, names.problems


def has_holdout(config: DataConfig, home: Path) -> bool:
    """Tell by names only whether images are kept back to choose by: drawn, or of the folder's or the table's own.

    What is wrong with the names is left to `find_problems`; such a folder is taken to have them.
    """
    names = _look(config, home)
    return config.holdout_fraction is not None or names.has_holdout or bool(names.problems)


def _look(config: DataConfig, home: Path) -> _Names:
    return look(("folder", repr((config, home))), lambda: _look_anew(config, home))


def _look_anew(config: DataConfig, home: Path) -> _Names:
    root = _local_root(config, home)
    if root is None:
        return _Names(["ants", "bees"] if _is_ants_and_bees(config) else None)
    try:
        folder = _list(root, config)
        groups_of(folder, config)
        return _Names(folder.classes, has_holdout="holdout" in folder.splits)
    except ConfigurationError as error:
        return _Names(problems=error.problems)


def open_dataset(config: DataConfig, home: Path, workers: int = 2) -> Dataset:
    """Find (or fetch, or draw) the images, digest every file, and split them.

    Raises:
        ConfigurationError: if the folder cannot serve, or an image stands in training and evaluation.
        TlftError: if the images cannot be fetched.
    """
    name, root = _find_root(config, home, workers)
    folder = _list(root, config)
    _log_remarks(root, folder)
    paths = [path for by_class in folder.splits.values() for files in by_class.values() for path in files]
    digests = _digest_files(root, paths, home / "cache", workers)
    images = split_images(folder, digests, config)
    refuse_shared_images(images, folder, home / "cache")
    images.sort(key=lambda image: (image.split, image.label, image.sha256, str(image.path)))
    taken = folder.split_folders.describe()
    origin = config.origin or ""
    if name == DRAWINGS:
        from tlft.synthetic.folder import ORIGIN

        origin = ORIGIN
    grouping = source_of_groups(folder, config) if config.group is None else ""
    # Of all images, used or not, so that subsets and folds of one set have one scale.
    white = find_white({digest: path for path, digest in digests.items()}, config, home / "cache", workers)
    whole = _digest_of_all(folder, digests, config) if config.folds is not None else ""
    classes = tuple(folder.classes)
    facts = (folder.left_out, taken, origin, grouping, whole, white)
    return Dataset(name, folder.root, folder.source, classes, tuple(images), *facts)


def _list(root: Path, config: DataConfig) -> image_folder.Folder:
    """Return what is there by name, which is the same for each fold."""

    def list_anew() -> image_folder.Folder:
        return read_manifest(config) if isinstance(config, ManifestConfig) else image_folder.scan(root, config)

    return look(("files", root, repr(replace(config, fold=0))), list_anew)


def _is_ants_and_bees(config: DataConfig) -> bool:
    """Tell whether the images are those of ants and bees, and no folder of the user's."""
    return config.name not in ("imagefolder", "manifest")


def _log_remarks(root: Path, folder: image_folder.Folder) -> None:
    """Say which folders are taken where that is not plain, and what is left out."""
    if taken := folder.split_folders.describe():
        log.info("data: %s", taken)
    for name in dict.fromkeys(folder.respelled):
        log.info("data: two folders spell class %s in two forms of Unicode; they are one class", name)
    if folder.left_out:
        listed = ", ".join(relative_name(path, root) for path in list(folder.left_out)[:5])
        more = f" and {len(folder.left_out) - 5} more" if len(folder.left_out) > 5 else ""
        log.info("data: left out: %s (%s%s)", image_folder.describe_kinds(folder.left_out.values()), listed, more)


def _local_root(config: DataConfig, home: Path) -> Path | None:
    """Return the folder as far as it is known without fetching or drawing anything."""
    if config.name == DRAWINGS:
        return None
    if isinstance(config, ManifestConfig):
        return manifest_path(config).parent
    photographs = _is_ants_and_bees(config)
    if root := config.root or (photographs and os.environ.get("TLFT_HYMENOPTERA")):
        return Path(root).expanduser().absolute()
    default = home / "data" / "hymenoptera_data"
    return default if photographs and default.is_dir() else None


def _find_root(config: DataConfig, home: Path, workers: int) -> tuple[str, Path]:
    """Return what people call the data, and its folder, which is fetched or drawn if need be."""
    root = _local_root(config, home)
    if root is not None:
        if isinstance(config, ManifestConfig):
            return f"{root.name}/{manifest_path(config).stem}", root
        return "hymenoptera" if _is_ants_and_bees(config) else root.name, root
    assert _is_ants_and_bees(config)
    if config.name != DRAWINGS:
        try:
            return "hymenoptera", _fetch_hymenoptera(home, SECONDS_FOR_A_DEMO if config.name == "demo" else None)
        except TlftError as error:
            if config.name != "demo":
                raise
            log.info("data: the photographs are not here (%s): using the drawn ants and bees", error)
    from tlft.synthetic.folder import synthetic_folder

    return DRAWINGS, synthetic_folder(home / "data", getattr(config, "drawing_seed", 0), workers)


def _fetch_hymenoptera(home: Path, deadline: float | None) -> Path:
    target = home / "data" / "hymenoptera_data"
    archive = fetch(
        HYMENOPTERA_URL,
        home / "data" / "hymenoptera_data.zip",
        sha256=HYMENOPTERA_SHA256,
        size=HYMENOPTERA_BYTES,
        mend=f"put the folder at {target}, or set data.root or TLFT_HYMENOPTERA; data=synthetic needs no network",
        deadline=deadline,
    )
    return unpack_zip(archive, target)


def _digest_files(root: Path, paths: Sequence[Path], cache: Path, workers: int) -> dict[Path, str]:
    """Return each file's SHA-256, remembered by path, size, modification time and inode."""
    memory = cache / "digests" / f"{hashlib.sha256(os.fsencode(root)).hexdigest()[:16]}.json"
    try:
        remembered: dict[str, str] = json.loads(memory.read_text())
    except (OSError, ValueError):
        remembered = {}

    marks = {path: _mark(path, root) for path in paths}
    new = [path for path, mark in marks.items() if mark not in remembered]
    digests = {mark: remembered[mark] for mark in marks.values() if mark in remembered}
    with ThreadPoolExecutor(workers) as pool:
        digests |= zip((marks[path] for path in new), pool.map(_digest, new), strict=True)
    if new:
        names = {_name_of(mark) for mark in digests}
        of_other_sets = {  # below the same root: another table, other splits
            mark: digest
            for mark, digest in remembered.items()
            if _name_of(mark) not in names and os.path.lexists(root / _name_of(mark))
        }
        atomic_write(memory, json.dumps(of_other_sets | digests).encode())
    return {path: digests[mark] for path, mark in marks.items()}


def _name_of(mark: str) -> str:
    return mark.partition("\0")[0]


def _mark(path: Path, root: Path) -> str:
    """Return what a file's digest is remembered by."""
    try:
        stat = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from None
    beside = f"{root}{os.sep}"
    name = str(path).removeprefix(beside) if str(path).startswith(beside) else os.path.relpath(path, root)
    return f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ino}"


def _digest(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> TlftError:
    return TlftError(f"{display_name(path)}: cannot be read ({error.strerror}); put it back or take it out")


def _digest_of_all(folder: image_folder.Folder, digests: Mapping[Path, str], config: DataConfig) -> str:
    """Return the digest of all images, and of the groups that a table states, which no setting tells apart."""
    splits = folder.splits.values()
    groups = folder.groups if config.group is None else {}
    return _digest_lines(
        _line(name, digests[path]) + (f"{groups[path]}\n" if groups.get(path) else "")
        for by_class in splits
        for name, files in by_class.items()
        for path in files
    )


def _line(name: str, sha256: str) -> str:
    return f"{name}\0{sha256}\n"


def _digest_lines(lines: Iterable[str]) -> str:
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()
