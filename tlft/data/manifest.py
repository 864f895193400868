"""Read a manifest: a table that names each image, its class, and perhaps its split and its group."""

from __future__ import annotations

import csv
import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tlft.config.data_schema import DataConfig, ManifestConfig
from tlft.data.image_folder import Folder
from tlft.data.split_folders import SplitFolders
from tlft.errors import ConfigurationError, nearest, one_line

KINDS = (".csv", ".tsv", ".parquet")

_NEEDED, _OPTIONAL = ("path", "label"), ("split", "group")
_ROLES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "eval"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("holdout", "hold-out"), "holdout"),
}
"""What the words of the column `split` stand for; validation reports, or is the hold-out where there is a test."""

_Row = Mapping[str, str]
_Rows = Mapping[str, _Row]
"""By where each stands: `line 2` of a text, `row 1` of a Parquet file."""


def read_manifest(config: ManifestConfig) -> Folder:
    """Return the images that a manifest names, by split and class, with their groups.

    Paths are relative to the folder of the file. Columns: `path` and `label`, and perhaps `split` (train, val, test,
    holdout) and `group` (images that are not independent of each other).

    Raises:
        ConfigurationError: with every problem: missing columns, empty cells, missing files, contradictions.
    """
    file = manifest_path(config)
    rows = _read(file)
    source = f"data.file={file}"
    if not rows:
        raise ConfigurationError(f"{source}: has no row")
    _refuse_columns(source, next(iter(rows.values())))
    if problems := [*_empty_cells(rows), *_missing_files(rows, file.parent), *_contradictions(rows, file.parent)]:
        raise ConfigurationError(f"{source}: {problem}" for problem in problems)
    splits = _splits_of(list(rows.values()), source, config)
    folder = Folder(file.parent, source, SplitFolders({"all": ""}))  # there are no folders of splits
    for (place, row), split in zip(rows.items(), splits, strict=True):
        path = _path(row, file.parent)
        files = folder.splits.setdefault(split, {}).setdefault(unicodedata.normalize("NFC", row["label"]), [])
        if path not in folder.groups:  # else the row stands there twice
            files.append(path)
            folder.places[path] = place
        folder.groups[path] = row.get("group", "")
    _complete(folder)
    return folder


def manifest_path(config: DataConfig) -> Path:
    """Return the file of a manifest, absolute."""
    assert isinstance(config, ManifestConfig)
    return Path(config.file).expanduser().absolute()


def _read(file: Path) -> _Rows:
    """Return the rows, every value as text.

    Raises:
        ConfigurationError: if there is no such file, or it is no table.
    """
    if not file.is_file():
        siblings = [path.name for path in file.parent.iterdir()] if file.parent.is_dir() else []
        raise ConfigurationError(f"data.file={file}: no such file{nearest(file.name, siblings)}")
    if file.suffix.lower() not in KINDS:
        raise ConfigurationError(f"data.file={file}: give a file that ends in {', '.join(KINDS)}")
    try:
        return _read_parquet(file) if file.suffix.lower() == ".parquet" else _read_text(file)
    except (OSError, ValueError, csv.Error) as error:  # pyarrow's errors are ValueErrors
        raise ConfigurationError(f"data.file={file}: cannot be read ({one_line(error, 150)}); write it anew") from None


def _read_text(file: Path) -> _Rows:
    with file.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines, delimiter="\t" if file.suffix.lower() == ".tsv" else ",", strict=True)
        names = [str(name).strip() for name in reader.fieldnames or ()]
        if twice := sorted({name for name in names if name and names.count(name) > 1}):
            raise ConfigurationError(f"data.file={file}: has two columns {twice[0]}; delete one")
        rows: dict[str, _Row] = {}
        for row in reader:
            place = f"line {reader.line_num}"
            if any(cell.strip() for cell in row.get(None, ())):  # under which csv keeps cells without a column
                raise ConfigurationError(
                    f"data.file={file}: {place} has more cells than the first line has columns; name them all"
                )
            rows[place] = {str(name).strip(): (value or "").strip() for name, value in row.items() if name}
        return rows


def _read_parquet(file: Path) -> _Rows:
    from pyarrow import parquet

    def text(value: Any) -> str:
        return "" if value is None else str(value)

    table = parquet.read_table(file)
    columns = {name: table[name].to_pylist() for name in table.column_names}
    return {
        f"row {number + 1}": {name: text(values[number]) for name, values in columns.items()}
        for number in range(table.num_rows)
    }


def _refuse_columns(source: str, row: _Row) -> None:
    missing = [name for name in _NEEDED if name not in row]
    if missing:
        there = ", ".join(row)
        problems = (f"has no column {name} (there are {there}){nearest(name, row)}" for name in missing)
        raise ConfigurationError(f"{source}: {problem}; name it so" for problem in problems)


def _empty_cells(rows: _Rows) -> Iterator[str]:
    for name in (*_NEEDED, "split"):
        empty = [place for place, row in rows.items() if name in row and not row[name]]
        if empty and (name != "split" or len(empty) < len(rows)):  # a whole column of nothing is none
            more = f" and {len(empty) - 1} more" if len(empty) > 1 else ""
            yield f"{empty[0]}{more}: the {name} is empty; fill it in or delete the {empty[0].partition(' ')[0]}"


def _missing_files(rows: _Rows, folder: Path) -> Iterator[str]:
    missing = [row["path"] for row in rows.values() if row["path"] and not _path(row, folder).is_file()]
    if missing:
        count = f"{len(missing)} of {len(rows)} files are" if len(missing) > 1 else "a file is"
        yield f"{count} not there: {missing[0]}{' is the first' if len(missing) > 1 else ''}; paths begin at {folder}"


def _contradictions(rows: _Rows, folder: Path) -> Iterator[str]:
    """Yield which files stand there twice with different words."""
    first: dict[Path, str] = {}
    differing = []
    for place, row in rows.items():
        before = first.setdefault(_path(row, folder), place)
        if any(rows[before].get(name) != row.get(name) for name in ("label", *_OPTIONAL)):
            differing.append((row["path"], before, place))
    if differing:
        path, before, place = differing[0]
        more = f" and {len(differing) - 1} more" if len(differing) > 1 else ""
        mend = f"delete one of them ({before}, {place})"
        yield f"{path}{more}: stands there twice, with another label, split or group; {mend}"


def _path(row: _Row, folder: Path) -> Path:
    return Path(os.path.normpath(folder / row["path"]))


def _splits_of(rows: Sequence[_Row], source: str, config: ManifestConfig) -> list[str]:
    """Return the split of each row; `all` where there is no such column: `data.eval_fraction` or `folds` splits it.

    Raises:
        ConfigurationError: if a word is none of those known, or there is nothing to train on or to evaluate on.
    """
    words = [row.get("split", "").casefold() for row in rows]
    if not any(words):
        if config.eval_fraction is None and config.folds is None:
            raise ConfigurationError(f"{source}: has no column split; add one, or set data.eval_fraction=0.2")
        return ["all"] * len(rows)
    for key in ("eval_fraction", "folds"):
        if getattr(config, key) is not None:
            raise ConfigurationError(f"{source}: has a column split; leave data.{key} out")
    unknown = [
        f"{source}: split {word!r}{nearest(word, _ROLES)}" for word in dict.fromkeys(words) if word not in _ROLES
    ]
    if unknown:
        raise ConfigurationError(f"{problem}; write train, val, test or holdout" for problem in unknown)
    roles = {_ROLES[word] for word in words}
    validation = "holdout" if "eval" in roles else "eval"
    if "train" not in roles or roles <= {"train", "holdout"}:
        missing = "train on (split train)" if "train" not in roles else "evaluate on (split val or test)"
        raise ConfigurationError(f"{source}: there is nothing to {missing}")
    if validation == "holdout" and "holdout" in roles and "validation" in roles:
        raise ConfigurationError(f"{source}: has test, val and holdout; which of the last two is the hold-out?")
    if config.holdout_fraction is not None and (
        roles & {"holdout"} or (validation == "holdout" and "validation" in roles)
    ):
        raise ConfigurationError(f"{source}: has a hold-out; set data.holdout_fraction=null")
    return [validation if role == "validation" else role for role in map(_ROLES.__getitem__, words)]


def _complete(folder: Folder) -> None:
    """Give every split an entry for each class, so that one without images is named; refuse a single class."""
    classes = folder.classes
    if len(classes) < 2:
        raise ConfigurationError(f"{folder.source}: has the one class {classes[0]}; give at least two")
    for by_class in folder.splits.values():
        for name in classes:
            by_class.setdefault(name, [])
    if not any(folder.groups.values()):
        folder.groups.clear()
