"""A table that names images: what it may say, and what is wrong with it in one line each."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from conftest import Configure, draw_folder

from tlft.config.schema import Config
from tlft.data import dataset as data
from tlft.data.dataset import Dataset, find_problems, open_dataset
from tlft.errors import ConfigurationError, TlftError
from tlft.storage.files import sha256_of

Row = Mapping[str, object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return draw_folder(tmp_path / "insects", train=4, evaluation=2)


@pytest.fixture
def rows(folder: Path) -> list[dict[str, object]]:
    paths = sorted(path.relative_to(folder) for path in folder.rglob("*.png"))
    return [{"path": str(path), "label": path.parts[1], "split": path.parts[0]} for path in paths]


def write(file: Path, rows: Sequence[Row]) -> Path:
    if file.suffix == ".parquet":
        import pandas as pd

        pd.DataFrame(rows).to_parquet(file)
        return file
    with file.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, rows[0], delimiter="\t" if file.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)
    return file


def opened(config: Config) -> Dataset:
    return open_dataset(config.data, config.home)


def problems_of(configure: Configure, file: Path, *more: str) -> list[str]:
    config = configure("data=manifest", f"data.file={file}", *more)
    with pytest.raises(ConfigurationError) as raised:
        opened(config)
    if not any(text.startswith("data.train_per_class") for text in more):
        assert find_problems(config.data, config.home)[1] == raised.value.problems
    return raised.value.problems


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet"])
def test_a_table_gives_the_images_of_the_folders_that_it_names(
    configure: Configure, folder: Path, rows: list[dict[str, object]], kind: str
) -> None:
    listed = opened(configure("data=manifest", f"data.file={write(folder / f'labels.{kind}', rows)}"))
    of_folders = opened(configure("data=imagefolder", f"data.root={folder}"))
    assert listed.digests == of_folders.digests
    assert listed.images == of_folders.images
    assert (listed.name, listed.root, listed.classes) == ("insects/labels", folder, ("ants", "bees"))


def test_words_of_splits_are_those_of_folders(
    configure: Configure, folder: Path, rows: list[dict[str, object]]
) -> None:
    for index, row in enumerate(row for row in rows if row["split"] == "train"):
        row["split"] = ("Training", "Validation")[index % 2]
    for row in rows:
        row["split"] = "TEST" if row["split"] == "val" else row["split"]
    listed = opened(configure("data=manifest", f"data.file={write(folder / 'labels.csv', rows)}"))
    assert [len(listed.split(name)) for name in ("train", "holdout", "eval")] == [4, 4, 4]


def test_without_splits_they_are_drawn(configure: Configure, folder: Path, rows: list[dict[str, object]]) -> None:
    file = write(folder / "labels.csv", [{"path": row["path"], "label": row["label"]} for row in rows])
    listed = opened(configure("data=manifest", f"data.file={file}", "data.eval_fraction=0.25"))
    assert (len(listed.split("train")), len(listed.split("eval"))) == (8, 4)
    (problem,) = problems_of(configure, file)
    assert problem.endswith("has no column split; add one, or set data.eval_fraction=0.2")


def test_groups_are_those_of_the_column_unless_another_pattern_is_given(
    configure: Configure, folder: Path, rows: list[dict[str, object]]
) -> None:
    for row in rows:
        row["group"] = f"{row['split']} nest {str(row['path'])[-5]}"
    file = write(folder / "labels.csv", rows)
    listed = opened(configure("data=manifest", f"data.file={file}"))
    assert {image.group for image in listed.images} == {row["group"] for row in rows}
    assert listed.grouping == "column group of labels.csv"
    other = opened(
        configure("data=manifest", f"data.file={file}", "data.group='([^/]+)/[0-9]+[.]png'", "data.group=null")
    )
    assert other.grouping == listed.grouping
    pattern = opened(configure("data=manifest", f"data.file={file}", "data.group='(.*)[.]png'"))
    assert (pattern.grouping, len({image.group for image in pattern.images})) == ("", len(rows))
    rows[0]["group"] = next(row["group"] for row in rows if row["split"] == "val")
    (problem,) = problems_of(configure, write(file, rows))
    assert problem.startswith(f"data.file={file}: column group: group val nest 0 stands in two splits, ")
    assert "train/ants/0.png (line 2, train) and val/ants/0.png (line 10, eval)" in problem


def test_a_file_outside_and_any_name_are_taken(
    configure: Configure, folder: Path, rows: list[dict[str, object]], tmp_path: Path
) -> None:
    strange = folder / "train" / "ants" / "a = b, (c) #%\N{LATIN SMALL LETTER E WITH ACUTE}.png"
    (folder / str(rows[0]["path"])).rename(strange)
    rows[0]["path"] = str(strange)
    (tmp_path / "elsewhere").mkdir()
    for row in rows[1:]:
        row["path"] = f"../insects/{row['path']}"
    listed = opened(configure("data=manifest", f"data.file={write(tmp_path / 'elsewhere' / 'labels.csv', rows)}"))
    assert strange in {image.path for image in listed.images}
    assert len(listed.images) == len(rows)


def test_missing_files_are_counted_and_the_first_is_named(
    configure: Configure, folder: Path, rows: list[dict[str, object]]
) -> None:
    rows[3]["path"], rows[5]["path"] = "train/ants/gone.png", "train/bees/gone too.png"
    (problem,) = problems_of(configure, write(folder / "labels.csv", rows))
    assert problem.endswith(f"2 of 12 files are not there: train/ants/gone.png is the first; paths begin at {folder}")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"label": ""}, "line 2: the label is empty; fill it in or delete the line"),
        ({"split": ""}, "line 2: the split is empty; fill it in or delete the line"),
        ({"split": "trian"}, "split 'trian'; did you mean train?; write train, val, test or holdout"),
        ({"path": "train/bees/1.png"}, "train/bees/1.png: stands there twice, with another label, split or group"),
    ],
)
def test_a_wrong_cell_is_named(
    configure: Configure, folder: Path, rows: list[dict[str, object]], change: dict[str, str], said: str
) -> None:
    (problem,) = problems_of(configure, write(folder / "labels.csv", [rows[0] | change, *rows[1:]]))
    assert said in problem
    assert problem.startswith(f"data.file={folder / 'labels.csv'}: ")


def test_what_is_no_table_is_one_line(configure: Configure, folder: Path, rows: list[dict[str, object]]) -> None:
    file = write(folder / "labels.csv", rows)
    (problem,) = problems_of(configure, folder / "label.csv")
    assert problem.endswith("no such file; did you mean labels.csv?")
    (problem,) = problems_of(configure, folder / "train" / "ants" / "0.png")
    assert problem.endswith("give a file that ends in .csv, .tsv, .parquet")
    (folder / "labels.parquet").write_bytes(b"no table")
    (problem,) = problems_of(configure, folder / "labels.parquet")
    assert "labels.parquet: cannot be read (" in problem
    file.write_text("path,label,split\n")
    (problem,) = problems_of(configure, file)
    assert problem.endswith("has no row")
    renamed = [{"path": row["path"], "class": row["label"], "split": row["split"]} for row in rows]
    (problem,) = problems_of(configure, write(file, renamed))
    assert problem.endswith("has no column label (there are path, class, split); name it so")
    file.write_bytes(b"path,label,split\n\xff\xfe,ants,train\n")
    (problem,) = problems_of(configure, file)
    assert "cannot be read (" in problem


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["path,label", "train/ants/0.png,ants", "train/bees/0.png,bees,val"], "line 3 has more cells than the first"),
        (["path,label,label", "train/ants/0.png,ants,bees"], "has two columns label; delete one"),
    ],
)
def test_cells_of_no_column_or_of_two_are_not_left_out_in_silence(
    configure: Configure, folder: Path, lines: list[str], problem: str
) -> None:
    file = folder / "labels.csv"
    file.write_text("\n".join(lines))
    (line,) = problems_of(configure, file, "data.eval_fraction=0.5")
    assert line.startswith(f"data.file={file}: {problem}")


def test_a_comma_at_the_end_of_each_line_is_none_of_a_cell(
    configure: Configure, folder: Path, rows: list[dict[str, object]]
) -> None:
    file = write(folder / "labels.csv", rows)
    file.write_text("\n".join(f"{line}," for line in file.read_text().splitlines()))
    assert len(opened(configure("data=manifest", f"data.file={file}")).images) == len(rows)


def test_a_class_that_a_split_lacks_is_named(configure: Configure, folder: Path, rows: list[dict[str, object]]) -> None:
    kept = [row for row in rows if (row["label"], row["split"]) != ("bees", "val")]
    (problem,) = problems_of_opening(configure, write(folder / "labels.csv", kept))
    assert problem.startswith("data: no image of class bees is left for the eval split")
    single = [row for row in rows if row["label"] == "ants"]
    (problem,) = problems_of(configure, write(folder / "labels.csv", single))
    assert problem.endswith("has the one class ants; give at least two")


def problems_of_opening(configure: Configure, file: Path) -> list[str]:
    with pytest.raises(ConfigurationError) as raised:
        opened(configure("data=manifest", f"data.file={file}"))
    return raised.value.problems


NESTS = 6


@pytest.fixture
def nests(folder: Path, rows: list[dict[str, object]]) -> Path:
    """Return a table without splits: of each class six nests of two images."""
    for path in folder.rglob("*.png"):
        path.with_name(f"again {path.name}").write_bytes(path.read_bytes() + b"again")
    paths = sorted(path.relative_to(folder) for path in folder.rglob("*.png"))
    grouped = [
        {"path": str(path), "label": path.parts[1], "group": f"{path.parts[0]} {path.parts[1]} {path.stem[-1]}"}
        for path in paths
    ]
    assert len({row["group"] for row in grouped}) == 2 * NESTS
    return write(folder / "nests.csv", grouped)


@pytest.mark.parametrize(
    "overrides",
    [
        ("data.folds=3",),
        ("data.folds=3", "data.fold=2", "data.holdout_fraction=0.3"),
        ("data.eval_fraction=0.3",),
        ("data.eval_fraction=0.3", "data.holdout_fraction=0.3"),
        ("data.eval_fraction=0.3", "data.train_fraction=0.5"),
        ("data.eval_fraction=0.3", "data.train_per_class=4"),
    ],
)
def test_no_split_that_is_drawn_cuts_a_group_of_the_column(
    configure: Configure, nests: Path, overrides: tuple[str, ...]
) -> None:
    listed = opened(configure("data=manifest", f"data.file={nests}", *overrides))
    images_of: dict[str, list[str]] = {}
    for image in listed.images:
        images_of.setdefault(image.group, []).append(image.split)
    assert images_of
    assert all(len(splits) == 2 and len(set(splits)) == 1 for splits in images_of.values())


def test_folds_of_other_groups_are_those_of_another_cross_validation(configure: Configure, nests: Path) -> None:
    common = ("data=manifest", f"data.file={nests}", "data.folds=3")
    before = opened(configure(*common))
    nests.write_text(nests.read_text().replace("val ants 1", "val ants 0"))
    after = opened(configure(*common))
    assert before.whole != after.whole
    alone = "data.group='(.+)'"
    assert opened(configure(*common, alone)).whole not in (before.whole, after.whole), "the pattern tells these apart"


@pytest.mark.parametrize(
    ("group", "override", "said"),
    [
        ("{label} {number}", "data.folds=30", "class ants has 12 groups, so that not every fold has one; give at most"),
        (
            "{label}",
            "data.folds=2",
            "class ants has 1 group, so that not every fold has one; add some (so it is with 1",
        ),
        ("", "data.folds=13", "class ants has 12 images, so that not every fold has one; give at most that many folds"),
        ("", "data.eval_fraction=0.3", ""),
        (
            "{label}",
            "data.eval_fraction=0.3",
            "no image of class ants is left for the eval split; add images, in more groups than one (column group of n",
        ),
    ],
)
def test_too_few_groups_of_the_column_are_called_so(
    configure: Configure, nests: Path, group: str, override: str, said: str
) -> None:
    with nests.open(newline="") as lines:
        rows = [dict(row) for row in csv.DictReader(lines)]
    for number, row in enumerate(rows):
        row["group"] = group.format(label=row["label"], number=number)
        if row["label"] == "bees" and number % 2 and not group:
            row["group"] = f"nest {number}"  # of the other class some images alone
    config = configure("data=manifest", f"data.file={write(nests, rows)}", override)
    if not said:
        assert opened(config).split("eval")
        return
    with pytest.raises(ConfigurationError) as raised:
        opened(config)
    assert said in raised.value.problems[0]


def test_each_message_names_the_table_and_its_lines(
    configure: Configure, folder: Path, rows: list[dict[str, object]]
) -> None:
    (folder / str(rows[-1]["path"])).write_bytes((folder / str(rows[0]["path"])).read_bytes())
    for kind, places in (("csv", ("line 2", "line 13")), ("parquet", ("row 1", "row 12"))):
        file = write(folder / f"labels.{kind}", rows)
        (problem,) = problems_of_opening(configure, file)
        of_both = f"train/ants/0.png ({places[0]}) and val/bees/1.png ({places[1]}) are the same image, in "
        assert problem.startswith(f"data.file={file}: {of_both}train and in eval")
    spaced = (folder / "labels.csv").read_text().replace("train/bees", "\ntrain/bees")
    (folder / "labels.csv").write_text(spaced)
    (problem,) = problems_of_opening(configure, folder / "labels.csv")
    assert "train/ants/0.png (line 2) and val/bees/1.png (line 17)" in problem, "empty lines count too"


def test_every_image_of_a_class_that_is_skipped_is_said_of_the_table(
    configure: Configure, folder: Path, rows: list[dict[str, object]]
) -> None:
    from tlft.data.batches import open_images
    from tlft.pixels.transforms import Transform

    for path in (folder / "val" / "bees").iterdir():
        path.write_bytes(f"no image {path.name}".encode())
    config = configure("data=manifest", f"data.file={write(folder / 'labels.csv', rows)}")
    transform = Transform(32, 32, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    with pytest.raises(TlftError, match=r"^data\.file=.+/labels\.csv: every eval image of class bees was skipped"):
        open_images(opened(config), transform, config.home / "cache", "skip", 1)


def test_two_tables_of_one_folder_are_both_remembered(
    configure: Configure, folder: Path, rows: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    even = [row for row in rows if int(str(row["path"])[-5]) % 2 == 0]
    odd = [row for row in rows if row not in even]
    configs = [
        configure("data=manifest", f"data.file={write(folder / f'{name}.csv', part)}")
        for name, part in (("even", even), ("odd", odd))
    ]
    digests = [opened(config).digests for config in configs]
    read: list[Path] = []
    monkeypatch.setattr(data, "sha256_of", lambda path: read.append(path) or sha256_of(path))  # type: ignore[func-returns-value]
    assert [opened(config).digests for config in configs] == digests
    assert read == []
    gone, changed = (folder / str(part[0]["path"]) for part in (even, odd))
    gone.unlink()
    changed.write_bytes(b"other")
    opened(configs[1])
    assert read == [changed]
    (memory,) = (configs[0].home / "cache" / "digests").glob("[0-9a-f]*.json")
    names = [name.partition("\0")[0] for name in json.loads(memory.read_text())]
    assert sorted(names) == sorted(str(row["path"]) for row in rows if folder / str(row["path"]) != gone)


@pytest.mark.parametrize(
    ("smaller", "larger"),
    [
        ("data.train_fraction=0.2", "data.train_fraction=0.6"),
        ("data.train_per_class=2", "data.train_per_class=5"),
        ("data.train_per_class=3", "data.train_fraction=0.8"),
    ],
)
@pytest.mark.parametrize("split", ["data.eval_fraction=0.3", "data.folds=3"])
def test_fewer_lie_within_more_in_groups_too(
    configure: Configure, nests: Path, smaller: str, larger: str, split: str
) -> None:
    few, many, all_images = (
        {
            image.sha256
            for image in opened(configure("data=manifest", f"data.file={nests}", split, *more)).split("train")
        }
        for more in ([smaller], [larger], [])
    )
    assert few < many < all_images


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_numbers_are_names_of_classes_in_natural_order(
    configure: Configure, folder: Path, rows: list[dict[str, object]], kind: str
) -> None:
    numbered = [row | {"label": {"ants": 10, "bees": 9}[str(row["label"])]} for row in rows]
    listed = opened(configure("data=manifest", f"data.file={write(folder / f'labels.{kind}', numbered)}"))
    assert listed.classes == ("9", "10")
    assert {image.label for image in listed.images if image.path.parent.name == "ants"} == {1}
