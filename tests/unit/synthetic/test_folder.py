"""The embedded data set: what is in it, that it is drawn once and always alike, and that no scene tells the class."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression

from tlft.errors import TlftError
from tlft.synthetic import folder as synthetic
from tlft.synthetic.folder import CLASSES, draw_scene, list_scenes, synthetic_folder
from tlft.synthetic.scenery import KINDS

Floats = NDArray[np.float64]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the data set small."""
    monkeypatch.setattr(synthetic, "COUNTS", {"train": {"ants": 3, "bees": 2}, "val": {"ants": 1, "bees": 2}})


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return a list that grows by every process that is started."""
    processes: list[Any] = []
    start = subprocess.Popen

    def watched(*arguments: Any, **keywords: Any) -> Any:
        processes.append(start(*arguments, **keywords))
        return processes[-1]

    monkeypatch.setattr(subprocess, "Popen", watched)
    return processes


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.jpg")}


@pytest.fixture(scope="module")
def thumbnails() -> Floats:
    """Return every scene of the data set without its animal, as (n, 16 * 16 * 3)."""

    def draw(index: int) -> Floats:
        image = draw_scene(0, index, None).resize((16, 16), Image.Resampling.BOX)
        return np.asarray(image, np.float64).ravel() / 255

    with ThreadPoolExecutor(2) as pool:
        return np.stack(list(pool.map(draw, range(397))))


def guessed(pictures: Floats) -> float:
    """Return the share of evaluation scenes whose class a classifier tells that learned on the training scenes."""
    scenes = list_scenes(0)
    labels = np.array([CLASSES.index(scene.animal) for scene in scenes])
    train = np.array([scene.file.startswith("train") for scene in scenes])
    classifier = LogisticRegression(max_iter=1000).fit(pictures[train], labels[train])
    return float(classifier.score(pictures[~train], labels[~train]))


def test_counts_are_those_of_the_photographs() -> None:
    counts = Counter(scene.file.rpartition("/")[0] for scene in list_scenes(0))
    assert counts == {"train/ants": 123, "train/bees": 121, "val/ants": 70, "val/bees": 83}


def test_every_scene_is_used_once() -> None:
    scenes = list_scenes(3)
    assert sorted(scene.index for scene in scenes) == list(range(397))
    assert len({scene.file for scene in scenes}) == 397


def test_file_names_count_from_one_in_every_folder() -> None:
    names = {scene.file.rpartition("/")[2] for scene in list_scenes(0) if scene.file.startswith("val/ants")}
    assert names == {f"{number:04d}.jpg" for number in range(1, 71)}


def test_another_seed_draws_other_lots() -> None:
    assert [scene.animal for scene in list_scenes(0)] != [scene.animal for scene in list_scenes(1)]


def test_no_kind_of_ground_has_more_of_one_class() -> None:
    scenes = [scene for scene in list_scenes(0) if scene.file.startswith("train")][:242]
    counts = Counter((KINDS[scene.index // 2 % len(KINDS)], scene.animal) for scene in scenes)
    assert len(counts) == 2 * len(KINDS)
    assert all(counts[kind, "ants"] == counts[kind, "bees"] for kind in KINDS)


def test_nothing_but_the_animal_gives_the_class_away(thumbnails: Floats) -> None:
    assert 0.42 <= guessed(thumbnails) <= 0.58


def test_a_leak_would_be_noticed(thumbnails: Floats) -> None:
    bees = np.array([scene.animal == "bees" for scene in list_scenes(0)])
    leaked = thumbnails.copy()
    leaked[bees, -12 * 3 :] += 0.1  # three quarters of the lowest row, a little lighter
    assert guessed(leaked) > 0.65


@pytest.mark.parametrize("animal", CLASSES)
@pytest.mark.parametrize("index", [1, 6, 12])
def test_only_the_animal_and_its_shadow_change_the_scene(index: int, animal: str) -> None:
    scene = np.asarray(draw_scene(0, index, None), np.int16)
    inhabited = np.asarray(draw_scene(0, index, animal), np.int16)
    changed = (np.abs(scene - inhabited) > 2).any(2).mean()
    assert 0.02 < changed < 0.7
    assert (scene == inhabited).all(2).mean() > 0.2


def test_ants_and_bees_look_different() -> None:
    ants, bees = (np.asarray(draw_scene(0, 5, animal), np.int16) for animal in CLASSES)
    assert (np.abs(ants - bees) > 20).any(2).mean() > 0.01


def test_aspect_ratios_vary() -> None:
    sizes = {draw_scene(0, index, None).size for index in range(12)}
    assert len(sizes) > 2
    assert all(min(size) >= 190 and max(size) <= 320 for size in sizes)


@pytest.mark.usefixtures("few")
def test_images_do_not_depend_on_the_workers(tmp_path: Path) -> None:
    one = contents(synthetic_folder(tmp_path / "one", 7, workers=1))
    assert len(one) == 8
    assert contents(synthetic_folder(tmp_path / "three", 7, workers=3)) == one


@pytest.mark.usefixtures("few")
def test_files_hold_the_listed_scenes(tmp_path: Path) -> None:
    folder = synthetic_folder(tmp_path, 7)
    scene = list_scenes(7)[4]
    drawn = io.BytesIO()
    draw_scene(7, scene.index, scene.animal).save(drawn, "JPEG", quality=92, subsampling=0)
    assert (folder / scene.file).read_bytes() == drawn.getvalue()


@pytest.mark.usefixtures("few")
def test_second_call_draws_nothing(tmp_path: Path, started: list[Any]) -> None:
    folder = synthetic_folder(tmp_path)
    assert len(started) == 2
    assert synthetic_folder(tmp_path) == folder
    assert len(started) == 2


@pytest.mark.usefixtures("few")
def test_two_that_ask_at_once_draw_once(tmp_path: Path, started: list[Any]) -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: synthetic_folder(tmp_path), range(2))
    assert first == second
    assert len(started) == 2


@pytest.mark.usefixtures("few")
def test_interrupted_drawing_leaves_no_folder_that_looks_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[Any]
) -> None:
    @contextmanager
    def interrupted(*_: Any) -> Iterator[Any]:
        def advance() -> None:
            raise KeyboardInterrupt

        yield advance

    with monkeypatch.context() as patched:
        patched.setattr(synthetic, "progress", interrupted)
        with pytest.raises(KeyboardInterrupt):
            synthetic_folder(tmp_path)
    assert not list(tmp_path.glob("synthetic*"))
    assert all(process.poll() is not None for process in started)
    assert len(contents(synthetic_folder(tmp_path))) == 8
    assert not list(tmp_path.glob(".*partial"))


@pytest.mark.usefixtures("few")
def test_failed_drawing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(TlftError, match="drawing the images failed"):
        synthetic_folder(tmp_path)
    assert not list(tmp_path.glob("synthetic*"))


def test_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file, no folder")
    with pytest.raises(TlftError, match=r"data/synthetic-1-0: cannot be written .*paths\.home"):
        synthetic_folder(tmp_path / "data")
