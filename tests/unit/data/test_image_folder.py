"""No class, no image and no folder is lost in silence: it is taken, or counted by its kind, or an error names it."""

from __future__ import annotations

import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from tlft.config.data_schema import DataConfig
from tlft.data import folder_names
from tlft.data.dataset import open_dataset
from tlft.data.image_folder import Folder, describe_kinds, scan
from tlft.errors import ConfigurationError

CLASSES = ("a", "b")


@pytest.fixture(autouse=True)
def _without_heic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have an installation that cannot read HEIC."""
    plain = tuple(extension for extension in folder_names.EXTENSIONS if extension not in (".heic", ".heif"))
    monkeypatch.setattr(folder_names, "EXTENSIONS", plain)


def make(root: Path, *names: str | bytes) -> Path:
    """Write files whose content is their name, beside two images for each class of `train` and `val`."""
    plain = [f"{split}/{name}/{index}.jpg" for split in ("train", "val") for name in CLASSES for index in range(2)]
    return make_only(root, *plain, *names)


def make_only(root: Path, *names: str | bytes) -> Path:
    for name in names:
        path = Path(os.fsdecode(os.path.join(os.fsencode(root), os.fsencode(name))))  # noqa: PTH118
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(name))
    return root


def scanned(root: Path, **config: object) -> Folder:
    return scan(root, DataConfig(name="imagefolder", root=str(root), **config))  # type: ignore[arg-type]


def problems(root: Path, **config: object) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        scanned(root, **config)
    return [problem.removeprefix(f"data.root={root}: ") for problem in caught.value.problems]


def count(folder: Folder) -> dict[str, int]:
    return {split: sum(map(len, by_class.values())) for split, by_class in folder.splits.items()}


def test_a_class_that_loses_all_its_images_is_an_error_that_names_it(tmp_path: Path) -> None:
    make(tmp_path, "train/c/1.HEIC", "train/c/2.heic", "train/c/3.txt", "val/c/1.jpg")
    assert problems(tmp_path) == [
        "class c has no image in the train split, but 2 .heic, 1 .txt; convert or move them, or delete the folder"
    ]


@pytest.mark.parametrize("split", ["train", "val"])
def test_an_empty_class_is_an_error(tmp_path: Path, split: str) -> None:
    make(tmp_path, "train/c/1.jpg", "val/c/1.jpg")
    (tmp_path / split / "c" / "1.jpg").unlink()
    (problem,) = problems(tmp_path)
    assert problem.endswith("its folder is empty; add some or delete the folder")


def test_an_empty_class_of_a_folder_that_is_still_to_be_split_is_an_error(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "train" / "c").mkdir()
    (problem,) = problems(tmp_path / "train", eval_fraction=0.5)
    assert problem.startswith("class c has no image in the all split")


def test_many_classes_without_images_are_some_lines(tmp_path: Path) -> None:
    make(tmp_path, *(f"train/c{index}/1.heic" for index in range(40)))
    lines = problems(tmp_path)
    assert (len(lines), lines[-1]) == (11, "so it is with 70 more")


def test_images_below_a_class_are_an_error_that_names_the_choice(tmp_path: Path) -> None:
    make(tmp_path, "train/a/more/1.jpg", "train/a/more/deep/2.jpg", "train/b/x/1.txt", "train/c/x/1.jpg", "val/c/1.jpg")
    assert problems(tmp_path) == [
        "3 images in folders below a class, as in train/a/more; move them up, or set data.subfolders=include (they are "
        "images of the class) or data.subfolders=ignore"
    ]
    included = scanned(tmp_path, subfolders="include")
    assert count(included) == {"train": 7, "eval": 5}
    assert describe_kinds(included.left_out.values()) == "1 .txt"
    (problem,) = problems(tmp_path, subfolders="ignore")
    assert problem == (
        "class c has no image in the train split, but 1 image in folders below a class; convert or move them, or "
        "delete the folder"
    )
    (tmp_path / "train" / "c" / "1.jpg").write_bytes(b"c")
    ignored = scanned(tmp_path, subfolders="ignore")
    assert count(ignored) == {"train": 5, "eval": 5}
    assert describe_kinds(ignored.left_out.values()) == "3 images in folders below a class, 1 .txt"


def test_folders_that_links_lead_back_to_are_seen_once(tmp_path: Path) -> None:
    make(tmp_path, "train/a/more/1.jpg")
    (tmp_path / "train" / "a" / "more" / "again").symlink_to(tmp_path / "train" / "a" / "more")
    assert len(scanned(tmp_path, subfolders="include").splits["train"]["a"]) == 3


def test_what_desktops_and_archives_leave_is_not_counted(tmp_path: Path) -> None:
    hidden = (".DS_Store", "Thumbs.db", "__MACOSX/a/._0.jpg", ".ipynb_checkpoints/a-checkpoint.jpg", "@eaDir/x/1.jpg")
    make(tmp_path, *(f"{place}/{name}" for place in ("train", "train/a", ".") for name in hidden))
    folder = scanned(tmp_path)
    assert (folder.left_out, folder.classes, folder.split_folders.describe()) == ({}, ["a", "b"], "")


def test_what_is_left_out_is_counted_by_kind(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    make(
        tmp_path,
        "train/a/imageNotFound.gif",
        "train/a/1.heic",
        "val/b/2.HEIC",
        "train/stray.jpg",
        "train/labels.csv",
        "val/a/README",
    )
    os.mkfifo(tmp_path / "train" / "a" / "pipe.jpg")
    data = open_dataset(DataConfig(name="imagefolder", root=str(tmp_path)), tmp_path / "home")
    kinds = "2 .heic, 1 .csv, 1 image beside the class folders, 1 .gif, 1 special file, 1 without an extension"
    assert describe_kinds(data.left_out.values()) == kinds
    assert f"data: left out: {kinds} (train/labels.csv, train/stray.jpg" in caplog.text


def test_many_kinds_are_told_in_few_words() -> None:
    kinds = [f".{'x' * 200}{index}" for index in range(100)]
    assert len(describe_kinds(kinds)) < 250
    assert describe_kinds(kinds).endswith(", 92 of other kinds")


def test_every_ending_of_a_format_that_counts_is_taken(tmp_path: Path) -> None:
    make(tmp_path, "train/a/1.jfif", "train/a/2.JPE", "train/a/3.ppm")
    assert count(scanned(tmp_path)) == {"train": 7, "eval": 4}


@pytest.mark.parametrize(
    ("folders", "taken", "words"),
    [
        (("train", "val"), ("train", "val", None), ""),
        (("train", "valid"), ("train", "valid", None), "train is trained on, valid reports"),
        (("train", "valid", "test"), ("train", "test", "valid"), "valid is the hold-out, test reports"),
        (("train", "validation", "test"), ("train", "test", "validation"), "validation is the hold-out, test reports"),
        (("train", "val", "test"), ("train", "test", "val"), "val is the hold-out, test reports"),
        (("train", "val", "valid"), ("train", "val", None), "val reports; not taken: valid"),
        (("train", "val", "Testing"), ("train", "val", None), "val reports; not taken: Testing"),
        (("Training", "Testing"), ("Training", "Testing", None), "Training is trained on, Testing reports"),
        (("Train", "VALID", "Test"), ("Train", "Test", "VALID"), "VALID is the hold-out, Test reports"),
        (("train", "TEST"), ("train", "TEST", None), "train is trained on, TEST reports"),
    ],
)
def test_which_folders_are_taken_is_said(
    tmp_path: Path, folders: tuple[str, ...], taken: tuple[str, str, str | None], words: str
) -> None:
    make_only(tmp_path, *(f"{split}/{name}/1.jpg" for split in folders for name in CLASSES))
    split_folders = scanned(tmp_path).split_folders
    names = split_folders.names
    assert (names["train"], names["eval"], names.get("holdout")) == taken
    assert split_folders.describe().endswith(words)
    assert bool(split_folders.describe()) == bool(words)


def test_folders_that_are_named_are_taken(tmp_path: Path) -> None:
    make(tmp_path, *(f"check/{name}/1.jpg" for name in CLASSES))
    named = scanned(tmp_path, eval_split="check").split_folders
    assert named.names == {"train": "train", "eval": "check"}
    assert named.describe() == "train is trained on, check reports; not taken: val"


@pytest.mark.parametrize("at", ["test", "test/images"])
def test_a_test_folder_without_classes_is_named_for_what_it_is(tmp_path: Path, at: str) -> None:
    make(tmp_path, *(f"{at}/{index}.jpg" for index in range(3)))
    folder = scanned(tmp_path)
    assert folder.split_folders.names == {"train": "train", "eval": "val"}
    assert folder.split_folders.describe() == (
        "train is trained on, val reports; not taken: test (3 images without class folders, so unlabelled)"
    )
    (problem,) = problems(tmp_path, eval_split="test")
    assert "has 3 images without class folders, so unlabelled" in problem


def test_if_nothing_but_unlabelled_images_could_report_the_line_says_how_to_split(tmp_path: Path) -> None:
    make_only(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "test/1.jpg")
    (problem,) = problems(tmp_path)
    assert problem.startswith("test has 1 image without class folders, so unlabelled, and there is no other folder")
    assert f"(data.root={tmp_path / 'train'} data.eval_fraction=0.2)" in problem


def test_a_folder_too_high_is_pointed_below(tmp_path: Path) -> None:
    make(tmp_path / "photos")
    (problem,) = problems(tmp_path)
    assert problem == f"has no folder train (there are photos); did you mean data.root={tmp_path / 'photos'}?"


def test_classes_that_differ_in_case_alone_are_pointed_at(tmp_path: Path) -> None:
    make_only(tmp_path, "train/Cats/1.jpg", "train/b/1.jpg", "val/cats/1.jpg", "val/b/1.jpg")
    assert problems(tmp_path) == [
        "class Cats has no image in the eval split, which has cats; give both one name",
        "class cats has no image in the train split, which has Cats; give both one name",
    ]


# names that are no plain text

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "Café") for form in ("NFC", "NFD"))


@pytest.mark.parametrize("spelling", [COMPOSED, DECOMPOSED])
def test_a_class_has_one_name_whatever_its_unicode_form(tmp_path: Path, spelling: str) -> None:
    make(tmp_path, f"train/{spelling}/1.jpg", f"val/{DECOMPOSED}/1.jpg")
    assert scanned(tmp_path).classes == ["Café", "a", "b"]


def test_both_spellings_in_one_split_are_one_class_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    make(tmp_path, f"train/{COMPOSED}/1.jpg", f"train/{DECOMPOSED}/2.jpg", f"val/{COMPOSED}/1.jpg")
    data = open_dataset(DataConfig(name="imagefolder", root=str(tmp_path)), tmp_path / "home")
    assert (data.classes[0], len(data.split("train"))) == (COMPOSED, 6)
    assert f"two folders spell class {COMPOSED} in two forms of Unicode" in caplog.text


def test_the_digest_does_not_follow_the_unicode_form(tmp_path: Path) -> None:
    digests = []
    for name in (COMPOSED, DECOMPOSED):
        root = make(tmp_path / name.encode().hex(), f"train/{name}/1.jpg", f"val/{name}/1.jpg")
        for split in ("train", "val"):
            (root / split / name / "1.jpg").write_text(split)
        data = open_dataset(DataConfig(name="imagefolder", root=str(root)), tmp_path / "home")
        digests.append(data.digests)
    assert digests[0] == digests[1]


def test_a_class_that_is_no_utf8_is_refused_with_a_command_that_renames_it(tmp_path: Path) -> None:
    make(tmp_path, b"train/it's caf\xe9/1.jpg", b"val/a/caf\xe9.jpg")
    (problem,) = problems(tmp_path)
    assert r"class folder train/it's caf\xe9 has a name that is no UTF-8; rename it: mv $'" in problem
    subprocess.run(["bash", "-c", problem.partition("rename it: ")[2]], check=True)
    make_only(tmp_path, "val/it's café/1.jpg")
    assert scanned(tmp_path).classes == ["a", "b", "it's café"]


def test_names_are_the_same_in_every_locale(tmp_path: Path) -> None:
    make(tmp_path, f"train/{DECOMPOSED}/ü.jpg", f"val/{COMPOSED}/1.jpg")
    code = f"""
from pathlib import Path
from tlft.config.data_schema import DataConfig
from tlft.data import folder_names
from tlft.data.dataset import open_dataset
from tlft.storage.files import relative_name
data = open_dataset(DataConfig(name="imagefolder", root={str(tmp_path)!r}), Path({str(tmp_path / "home")!r}))
print(ascii([data.classes, data.digests, [relative_name(image.path, data.root) for image in data.images]]))
"""
    locales = ({"LC_ALL": "C", "PYTHONUTF8": "0"}, {"PYTHONUTF8": "1"})
    texts = [
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, **locale}, capture_output=True, check=True
        ).stdout
        for locale in locales
    ]
    assert texts[0] == texts[1]
    assert rb"Caf\xe9" in texts[0]


def test_numbers_in_names_of_classes_count_as_numbers(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for name in ("10", "9", "100", "img2", "img10", "09"):
            (tmp_path / split / name).mkdir(parents=True)
            (tmp_path / split / name / "0.png").write_text(f"{split} {name}")
    folder = scan(tmp_path, DataConfig(name="imagefolder", root=str(tmp_path)))
    assert folder.classes == ["09", "9", "10", "100", "img2", "img10"]


ODD_INPUTS = Path(__file__).parents[4] / "shared" / "odd_inputs" / "make.py"

PLAIN = (8, 0, 6, 2)
ODD_FOLDERS: dict[str, tuple[int, ...] | str] = {
    **dict.fromkeys(
        ("hidden", "upper", "valid", "training", "kaggle", "ppm", "gif", "jfif", "nfc", "latin_file"), PLAIN
    ),
    **dict.fromkeys(("heic", "html", "latin_bad", "odd9"), (9, 0, 6, 2)),  # their bad files are met when they are read
    "filesinroot": PLAIN,
    "validation": (8, 6, 6, 2),
    "numbers": (24, 0, 12, 12),
    "plant": (6, 0, 3, 3),
    "odd": (76, 0, 38, 38),
    "longname": (6, 0, 3, 3),
    "many": (1000, 0, 1000, 1000),
    "badexif": (18, 0, 6, 2),
    "modes": (21, 0, 6, 2),
    "deep": (9, 0, 6, 2),
    "truncated": (12, 0, 6, 2),
    "good": (12, 0, 8, 2),
    "single": "has no folder train (there are a, b); name it with data.train_split, or split <class>/* with",
    "nested": "20 images in folders below a class, as in train/a/more; move them up, or set data.subfolders=",
    "lostclass": "class c has no image in the train split, but 3 .heic; convert or move them, or delete the folder",
    "case": "class Cats has no image in the eval split, which has cats; give both one name",
    "latin_class": "class folder train/caf\\xe9 has a name that is no UTF-8; rename it: mv $'",
    "copies": "train/a/0.jpg and val/a/copy0.jpg are the same image, in train and in eval, which makes",
    "copies2": "train/a/0.jpg and train/b/copy0.jpg are the same image, in two classes, which makes",
}
"""Images of each split and classes, or what is said."""


def test_every_odd_folder_is_taken_whole_or_refused_in_words(tmp_path: Path) -> None:
    if not ODD_INPUTS.exists():
        pytest.skip("the folder of odd inputs is not here")
    subprocess.run([sys.executable, ODD_INPUTS, tmp_path / "odd", *ODD_FOLDERS], capture_output=True, check=True)
    outcomes: dict[str, tuple[int, ...] | str] = {}
    for name, expected in ODD_FOLDERS.items():
        root = tmp_path / "odd" / name
        try:
            data = open_dataset(DataConfig(name="imagefolder", root=str(root)), tmp_path / "home")
            counts = (len(data.split(split)) for split in ("train", "holdout", "eval"))
            outcomes[name] = (*counts, len(data.classes))
        except ConfigurationError as error:
            said = error.problems[0].removeprefix(f"data.root={root}: ")
            outcomes[name] = said[: len(expected)] if isinstance(expected, str) else said
    assert outcomes == ODD_FOLDERS
