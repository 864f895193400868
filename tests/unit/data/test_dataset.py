from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from conftest import PHOTOGRAPHS, Configure, draw_folder, needs_photographs

from tlft.config.schema import Config
from tlft.config.validate import find_problems as config_problems
from tlft.data import dataset as data
from tlft.data import image_folder
from tlft.data.dataset import Dataset, find_problems, open_dataset
from tlft.errors import ConfigurationError, TlftError
from tlft.storage import files
from tlft.storage.looking import looking_once


def opened(config: Config) -> Dataset:
    return open_dataset(config.data, config.home)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return draw_folder(tmp_path / "insects")


@pytest.fixture
def flat(folder: Path) -> Path:
    """Return a folder with `<class>/*` alone, 8 images each."""
    shutil.rmtree(folder / "val")
    return folder / "train"


@needs_photographs
def test_photographs_are_244_and_153_and_the_gif_is_named(
    configure: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    dataset = opened(configure(f"data.root={PHOTOGRAPHS}"))
    assert (len(dataset.split("train")), len(dataset.split("eval"))) == (244, 153)
    assert dataset.classes == ("ants", "bees")
    assert [path.name for path in dataset.left_out] == ["imageNotFound.gif"]
    assert "data: left out: 1 .gif (train/ants/imageNotFound.gif)" in caplog.text
    assert dataset.digests["eval"].startswith(EVAL_DIGEST)


EVAL_DIGEST = "1b9b857cf3c6a095"


def test_root_beats_the_environment_which_beats_home(
    configure: Configure, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named, default = tmp_path / "named", tmp_path / "home" / "data" / "hymenoptera_data"
    shutil.copytree(folder, named)
    shutil.copytree(folder, default)
    monkeypatch.delenv("TLFT_HYMENOPTERA", raising=False)
    assert opened(configure()).root == default
    monkeypatch.setenv("TLFT_HYMENOPTERA", str(named))
    assert opened(configure()).root == named
    assert opened(configure(f"data.root={folder}")).root == folder


def test_missing_photographs_are_fetched_with_a_mend(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.delenv("TLFT_HYMENOPTERA", raising=False)
    request: dict[str, object] = {}

    def fetch(url: str, target: Path, **options: object) -> Path:
        request.update(options, url=url, target=target)
        raise TlftError("no network")

    monkeypatch.setattr(data, "fetch", fetch)
    with pytest.raises(TlftError, match="no network"):
        opened(configure())
    assert request["url"] == "https://download.pytorch.org/tutorial/hymenoptera_data.zip"
    assert (request["size"], str(request["sha256"])[:8]) == (47_286_322, "fbc41b31")
    assert request["target"] == home / "data" / "hymenoptera_data.zip"
    assert "data=synthetic needs no network" in str(request["mend"])


def test_digest_follows_content_and_not_names(configure: Configure, folder: Path, tmp_path: Path) -> None:
    before = opened(configure("data=imagefolder", f"data.root={folder}"))
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    for index, path in enumerate(sorted((moved / "train" / "ants").iterdir())):
        path.rename(path.with_name(f"z{99 - index}.png"))
    (moved / "val").rename(moved / "check")
    after = opened(configure("data=imagefolder", f"data.root={moved}", "data.eval_split=check"))
    assert after.digests == before.digests
    assert [image.sha256 for image in after.images] == [image.sha256 for image in before.images]


def test_digest_changes_with_a_byte_a_class_or_a_split(configure: Configure, folder: Path) -> None:
    config = configure("data=imagefolder", f"data.root={folder}")
    before = opened(config).digests
    image = folder / "train" / "ants" / "0.png"
    image.write_bytes(image.read_bytes() + b"\0")
    after = opened(config).digests
    assert after["train"] != before["train"]
    assert after["eval"] == before["eval"]
    (folder / "train" / "ants" / "1.png").rename(folder / "train" / "bees" / "other.png")
    assert opened(config).digests["train"] != after["train"]


def test_file_digests_are_remembered(configure: Configure, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = configure("data=imagefolder", f"data.root={folder}")
    first = opened(config)
    calls: list[Path] = []
    real = files.sha256_of

    def counted(path: Path) -> str:
        calls.append(path)
        return real(path)

    monkeypatch.setattr(data, "sha256_of", counted)
    assert opened(config).digests == first.digests
    assert calls == []
    changed = folder / "train" / "ants" / "0.png"
    changed.write_bytes(b"other")
    opened(config)
    assert calls == [changed]


def test_same_image_in_both_splits_is_an_error_that_names_the_pair(configure: Configure, folder: Path) -> None:
    shutil.copy(folder / "train" / "ants" / "3.png", folder / "val" / "ants" / "copy.png")
    with pytest.raises(ConfigurationError) as caught:
        opened(configure("data=imagefolder", f"data.root={folder}"))
    message = str(caught.value)
    assert "val/ants/copy.png" in message
    assert "train/ants/3.png" in message
    assert "are the same image, in" in message


def test_a_file_lists_all_pairs_of_the_same_image(configure: Configure, folder: Path) -> None:
    for number in (1, 2, 3):
        shutil.copy(folder / "train" / "ants" / f"{number}.png", folder / "val" / "ants" / f"copy{number}.png")
    config = configure("data=imagefolder", f"data.root={folder}")
    with pytest.raises(ConfigurationError, match=r"\(2 more such pairs; .+ lists all\)") as caught:
        opened(config)
    (listed,) = (config.home / "cache" / "duplicates").iterdir()
    assert str(listed) in str(caught.value)
    pairs = {tuple(sorted(line.split("\t"))) for line in listed.read_text().splitlines()}
    assert pairs == {(f"train/ants/{number}.png", f"val/ants/copy{number}.png") for number in (1, 2, 3)}


def test_image_in_training_and_hold_out_is_an_error(configure: Configure, folder: Path) -> None:
    shutil.copytree(folder / "val", folder / "test")
    shutil.rmtree(folder / "val")
    shutil.copytree(folder / "train", folder / "val")
    with pytest.raises(ConfigurationError, match=r"are the same image, in (holdout and in train|train and in holdout)"):
        opened(configure("data=imagefolder", f"data.root={folder}"))


def test_image_in_two_classes_is_an_error(configure: Configure, folder: Path) -> None:
    shutil.copy(folder / "train" / "ants" / "3.png", folder / "train" / "bees" / "copy.png")
    with pytest.raises(ConfigurationError, match="are the same image, in two classes"):
        opened(configure("data=imagefolder", f"data.root={folder}"))


def test_a_pipe_is_left_out_and_not_waited_for(configure: Configure, folder: Path) -> None:
    os.mkfifo(folder / "train" / "ants" / "pipe.jpg")
    assert (
        folder / "train" / "ants" / "pipe.jpg" in opened(configure("data=imagefolder", f"data.root={folder}")).left_out
    )


def test_a_folder_that_may_not_be_read_is_said(
    configure: Configure, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    config = configure("data=imagefolder", f"data.root={folder}")
    monkeypatch.setattr(Path, "iterdir", refuse)
    (problem,) = find_problems(config.data, config.home)[1]
    assert "may not be read; give yourself the right to (chmod u+rX)" in problem


def test_splits_by_fraction_and_by_folders_exclude_each_other(configure: Configure, flat: Path) -> None:
    config = configure("data=imagefolder", f"data.root={flat}", "data.eval_fraction=0.2", "data.eval_split=val")
    assert any("without folders of splits" in problem for problem in config_problems(config))


def test_flat_folder_is_split_by_content_and_split_seed(configure: Configure, flat: Path) -> None:
    common = ("data=imagefolder", f"data.root={flat}", "data.eval_fraction=0.25")
    dataset = opened(configure(*common))
    assert (len(dataset.split("train")), len(dataset.split("eval"))) == (12, 4)
    assert {image.label for image in dataset.split("eval")} == {0, 1}
    assert opened(configure(*common, "seed=5")).digests == dataset.digests
    assert opened(configure(*common, "data.split_seed=1")).digests != dataset.digests
    for path in sorted((flat / "ants").iterdir()):
        path.rename(path.with_name(f"renamed{path.name}"))
    assert opened(configure(*common)).digests == dataset.digests


def test_copies_of_a_file_stay_on_one_side(configure: Configure, flat: Path) -> None:
    for index in range(8):
        shutil.copy(flat / "ants" / f"{index}.png", flat / "ants" / f"copy{index}.png")
    dataset = opened(configure("data=imagefolder", f"data.root={flat}", "data.eval_fraction=0.5"))
    assert len(dataset.images) == 24


def test_holdout_is_stratified_and_leaves_the_evaluation_alone(configure: Configure, folder: Path) -> None:
    common = ("data=imagefolder", f"data.root={folder}")
    whole, held = opened(configure(*common)), opened(configure(*common, "data.holdout_fraction=0.25"))
    assert [image.label for image in held.split("holdout")] == [0, 0, 1, 1]
    assert len(held.split("train")) == 12
    assert held.digests["eval"] == whole.digests["eval"]


def test_smaller_train_fraction_is_part_of_a_larger_one(configure: Configure, folder: Path) -> None:
    def train(fraction: float) -> set[str]:
        config = configure("data=imagefolder", f"data.root={folder}", f"data.train_fraction={fraction}")
        return {image.sha256 for image in opened(config).split("train")}

    assert len(train(0.25)) == 4
    assert train(0.25) < train(0.5) < train(1.0)


def test_fewer_images_of_each_class_lie_within_more(configure: Configure, folder: Path) -> None:
    def train(*overrides: str) -> dict[int, set[str]]:
        images = opened(configure("data=imagefolder", f"data.root={folder}", *overrides)).split("train")
        return {label: {image.sha256 for image in images if image.label == label} for label in (0, 1)}

    three, five, half = (
        train("data.train_per_class=3"),
        train("data.train_per_class=5"),
        train("data.train_fraction=0.5"),
    )
    assert [len(images) for images in (*three.values(), *five.values())] == [3, 3, 5, 5]
    for label in (0, 1):
        assert three[label] < half[label] < five[label]  # one order for both keys; of 8 the half is 4
    other = train("data.train_per_class=3", "data.split_seed=1")
    assert other != three
    with pytest.raises(ConfigurationError) as raised:
        train("data.train_per_class=9")
    assert raised.value.problems[0] == (
        "data.train_per_class=9: class ants has 8 images to train on; give at most that"
    )


def test_a_number_of_each_class_is_taken_of_what_the_hold_out_leaves(configure: Configure, folder: Path) -> None:
    common = ("data=imagefolder", f"data.root={folder}", "data.holdout_fraction=0.25")
    whole, few = opened(configure(*common)), opened(configure(*common, "data.train_per_class=2"))
    assert few.digests["holdout"] == whole.digests["holdout"]
    assert {image.sha256 for image in few.split("train")} < {image.sha256 for image in whole.split("train")}
    assert [image.label for image in few.split("train")] == [0, 0, 1, 1]


def test_a_folder_that_is_named_is_the_hold_out(configure: Configure, folder: Path) -> None:
    draw_folder(folder / "more", train=1, evaluation=3, size=20)
    shutil.move(folder / "more" / "val", folder / "dev")
    shutil.rmtree(folder / "more")
    dataset = opened(configure("data=imagefolder", f"data.root={folder}", "data.holdout_split=dev"))
    assert {s: len(dataset.split(s)) for s in ("train", "holdout", "eval")} == {"train": 16, "holdout": 6, "eval": 12}
    assert dataset.split_folders == "train is trained on, dev is the hold-out, val reports"


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["data.holdout_split=vall"], "data.holdout_split=vall: no such folder in {root}; did you mean val?"),
        (["data.holdout_split=val"], "data.holdout_split=val: reports; name another folder, or another with"),
        (["data.holdout_split=train"], "data.holdout_split=train: is trained on; name another folder"),
    ],
)
def test_a_hold_out_folder_that_cannot_be_is_one_line(
    configure: Configure, folder: Path, overrides: list[str], said: str
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        opened(configure("data=imagefolder", f"data.root={folder}", *overrides))
    (problem,) = raised.value.problems
    assert said.format(root=folder) in problem


def test_of_three_splits_test_reports_and_val_is_the_holdout(configure: Configure, folder: Path) -> None:
    draw_folder(folder / "more", train=1, evaluation=3, size=20)
    shutil.move(folder / "more" / "val", folder / "test")
    shutil.rmtree(folder / "more")
    dataset = opened(configure("data=imagefolder", f"data.root={folder}"))
    assert {s: len(dataset.split(s)) for s in ("train", "holdout", "eval")} == {"train": 16, "holdout": 12, "eval": 6}
    as_named = opened(configure("data=imagefolder", f"data.root={folder}", "data.eval_split=val"))
    assert len(as_named.split("holdout")) == 0
    assert len(as_named.split("eval")) == 12


def spoil(folder: Path, how: str) -> Path:
    root = folder
    if how == "missing":
        root = folder.with_name("insectz")
    elif how == "file":
        root = folder / "train" / "ants" / "0.png"
    elif how == "empty":
        root = folder.with_name("empty")
        root.mkdir()
    elif how == "one class":
        shutil.rmtree(folder / "train" / "bees")
        shutil.rmtree(folder / "val" / "bees")
    elif how == "one split":
        shutil.rmtree(folder / "val" / "bees")
    elif how == "no evaluation":
        shutil.rmtree(folder / "val")
    elif how == "flat":
        root = folder / "train"
    elif how == "no images":
        for path in folder.rglob("*.png"):
            path.rename(path.with_suffix(".txt"))
    return root


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", "/insects?"),
        ("file", "is a file; name the folder"),
        ("empty", "the folder is empty; put train/<class>/*"),
        ("one class", "has the one class ants; give at least two"),
        ("one split", "class bees has no image in the eval split"),
        ("no evaluation", "has no folder val or test; name it with data.eval_split"),
        ("flat", "has no folder train (there are ants, bees)"),
        ("no images", "no image in any class folder"),
    ],
)
def test_wrong_folder_is_one_line_with_its_mend(configure: Configure, folder: Path, how: str, message: str) -> None:
    config = configure("data=imagefolder", f"data.root={spoil(folder, how)}")
    _, problems = find_problems(config.data, config.home)
    assert len(problems) == 1
    assert message in problems[0]


def test_fraction_of_a_folder_that_is_split_already_is_refused(configure: Configure, folder: Path) -> None:
    config = configure("data=imagefolder", f"data.root={folder}", "data.eval_fraction=0.5")
    _, problems = find_problems(config.data, config.home)
    assert "has a folder train already" in problems[0]


def test_vanished_file_is_named(configure: Configure, folder: Path) -> None:
    (folder / "train" / "ants" / "gone.png").symlink_to(folder / "nowhere.png")
    with pytest.raises(TlftError, match=r"gone\.png: cannot be read \(No such file"):
        opened(configure("data=imagefolder", f"data.root={folder}"))


def test_demo_takes_the_drawings_where_photographs_cannot_be_had(
    configure: Configure, home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.delenv("TLFT_HYMENOPTERA", raising=False)

    def fetch(url: str, target: Path, *, deadline: float | None, **options: object) -> Path:
        assert deadline is not None
        raise TlftError("no network")

    monkeypatch.setattr(data, "fetch", fetch)
    monkeypatch.setattr("tlft.synthetic.folder.synthetic_folder", lambda home, seed, workers: folder)
    assert opened(configure("data=demo")).name == "synthetic"
    assert "using the drawn ants and bees" in caplog.text
    monkeypatch.setenv("TLFT_HYMENOPTERA", str(folder))
    assert opened(configure("data=demo")).name == "hymenoptera"


def test_a_command_lists_a_folder_once_for_all_its_folds(
    configure: Configure, flat: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans: list[Path] = []
    scan = image_folder.scan
    monkeypatch.setattr(image_folder, "scan", lambda root, config: scans.append(root) or scan(root, config))  # type: ignore[func-returns-value]
    folds = [configure("data=imagefolder", f"data.root={flat}", "data.folds=2", f"data.fold={fold}") for fold in (0, 1)]

    @looking_once()
    def command() -> None:
        for config in folds:
            assert find_problems(config.data, config.home)[1] == []
            assert not data.has_holdout(config.data, config.home)
        with looking_once():
            assert len({opened(config).digests["eval"] for config in folds}) == 2

    command()
    assert scans == [flat]
    shutil.copy(flat / "ants" / "0.png", flat / "ants" / "copy.png")
    assert len(opened(folds[0]).images) == 17, "the next command looks anew"
