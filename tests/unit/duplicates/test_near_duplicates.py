"""Images that are nearly the same are found, whatever was done to them, and said where figures are read."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fabricated import FINE_TUNE, folder_of, run, scene
from PIL import Image, ImageEnhance, ImageOps

from analysis.comparison_table import build_table
from analysis.footnotes import footnotes
from tlft.config.data_schema import DataConfig
from tlft.data.batches import open_images
from tlft.data.dataset import Dataset, open_dataset
from tlft.data.splits import ImageFile
from tlft.duplicates import candidates
from tlft.duplicates import near_duplicates as duplicates
from tlft.duplicates.near_duplicates import Pair, describe_leaks, find_near_duplicates, parse, to_json
from tlft.pixels.transforms import Transform

TRANSFORM = Transform(72, 64, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
Alter = Callable[[Image.Image], Image.Image]


def search(root: Path, tmp_path: Path, **options: float) -> tuple[Dataset, list[Pair] | None]:
    dataset = open_dataset(DataConfig(name="imagefolder", root=str(root), **options), tmp_path)  # type: ignore[arg-type]
    images = open_images(dataset, TRANSFORM, tmp_path / "cache", "error", 1)
    return dataset, find_near_duplicates(dataset, images.decoded, TRANSFORM, tmp_path / "cache")


@pytest.mark.parametrize(
    ("alter", "mirrored"),
    [
        (lambda image: image, False),  # but as a JPEG of low quality
        (lambda image: image.resize((90, 72)), False),
        (lambda image: ImageEnhance.Brightness(image).enhance(1.2), False),
        (ImageOps.grayscale, False),
        (lambda image: image.crop((4, 3, 197, 158)), False),
        (ImageOps.mirror, True),
    ],
    ids=["compressed", "scaled", "brightened", "grey", "cut", "mirrored"],
)
def test_copy_of_a_training_image_is_found_whatever_was_done_to_it(
    tmp_path: Path, alter: Alter, mirrored: bool
) -> None:
    root = folder_of(tmp_path / "scenes", {"val/bees/copy.jpg": alter(scene(500))})  # of train/ants/0.png
    _, pairs = search(root, tmp_path)
    assert pairs is not None
    (pair,) = pairs
    assert (pair.one.file, pair.other.file) == ("val/bees/copy.jpg", "train/ants/0.png")
    assert (pair.one.split, pair.other.split, pair.leaks) == ("eval", "train", True)
    assert (pair.one.label, pair.other.label, pair.mirrored) == ("bees", "ants", mirrored)
    assert pair.distance <= candidates.LARGEST_DISTANCE
    assert describe_leaks(pairs) == (
        "1 evaluation image has a near-duplicate among the training images (val/bees/copy.jpg and train/ants/0.png)"
    )


def test_pairs_within_a_split_and_in_the_hold_out_do_not_leak(tmp_path: Path) -> None:
    copies = {"train/ants/a.jpg": scene(500), "val/ants/b.jpg": scene(300)}
    _, pairs = search(folder_of(tmp_path / "scenes", copies), tmp_path)
    assert pairs is not None
    assert [{pair.one.file, pair.other.file} for pair in pairs] == [
        *({"val/ants/0.png", "val/ants/b.jpg"}, {"train/ants/0.png", "train/ants/a.jpg"})
    ]
    assert describe_leaks(pairs) == ""
    dataset, held_out = search(tmp_path / "scenes", tmp_path, holdout_fraction=0.5)
    assert held_out is not None
    assert len(held_out) == 2
    known = {image.sha256: image.split for image in dataset.images}
    assert all(known[one.sha256] == one.split for pair in held_out for one in (pair.one, pair.other))


def test_unlike_scenes_give_no_pair_and_the_search_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder_of(tmp_path / "scenes", {})
    assert search(root, tmp_path)[1] == []
    (memory,) = (tmp_path / "cache" / "near_duplicates").glob("*.json")

    def never(*arguments: object) -> list[Pair]:
        raise AssertionError("searched again")

    monkeypatch.setattr(duplicates, "_find", never)
    assert search(root, tmp_path)[1] == []
    memory.write_text(memory.read_text()[:-3])
    with pytest.raises(AssertionError, match="searched again"):
        search(root, tmp_path)


def test_processes_that_ask_at_once_search_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = open_dataset(DataConfig(name="imagefolder", root=str(folder_of(tmp_path / "scenes", {}))), tmp_path)
    decoded = open_images(dataset, TRANSFORM, tmp_path / "cache", "error", 1).decoded
    together, searches = threading.Barrier(2), []
    read, search_anew = duplicates._read, duplicates._find

    def read_together(memory: Path) -> list[Pair] | None:
        pairs = read(memory)
        if not threading.current_thread().name.endswith("waited"):
            threading.current_thread().name += " waited"
            together.wait(60)  # both have seen that nobody has searched yet
        return pairs

    def count(*arguments: Any) -> list[Pair]:
        searches.append(1)
        return search_anew(*arguments)

    monkeypatch.setattr(duplicates, "_read", read_together)
    monkeypatch.setattr(duplicates, "_find", count)
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(find_near_duplicates, dataset, decoded, TRANSFORM, tmp_path / "cache") for _ in range(2)]
        assert [future.result() for future in asked] == [[], []]
    assert len(searches) == 1


def test_a_leak_is_not_cut_off_by_pairs_within_a_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "MOST_PAIRS", 1)
    copies = {"train/ants/a.jpg": scene(500), "val/ants/b.jpg": scene(501).crop((4, 3, 197, 158))}
    _, pairs = search(folder_of(tmp_path / "scenes", copies), tmp_path)
    assert pairs is not None
    assert [pair.leaks for pair in pairs] == [True]


def test_too_many_images_are_not_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(duplicates, "MOST_IMAGES", 10)
    with caplog.at_level(logging.INFO):
        assert search(folder_of(tmp_path / "scenes", {}), tmp_path)[1] is None
    assert "not looked for among more than 10 images" in caplog.text


def test_pairs_survive_json_and_other_texts_are_none(tmp_path: Path) -> None:
    _, pairs = search(folder_of(tmp_path / "scenes", {"val/bees/copy.jpg": scene(500)}), tmp_path)
    assert pairs
    assert parse(to_json(pairs)) == pairs
    for text in ("", "{}", "[]", "nonsense", '{"near_duplicates": [{}]}', '{"near_duplicates": 3}'):
        with pytest.raises(ValueError):
            parse(text)


def test_what_another_pillow_decoded_is_searched_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder_of(tmp_path / "scenes", {})
    for version in ("1.2.3", "1.2.4"):
        monkeypatch.setattr("PIL.__version__", version)
        search(root, tmp_path)
    assert len(list((tmp_path / "cache" / "near_duplicates").glob("*.json"))) == 2


def test_the_footnote_names_them_once() -> None:
    runs = [run(FINE_TUNE, seed=str(seed)) for seed in range(3)]
    for record in runs:
        record.tags["near_duplicates"] = "1 evaluation image has a near-duplicate among the training images (a and b)"
    notes = footnotes(build_table(runs))
    assert [note for note in notes if "near-duplicate" in note] == [
        "photos: 1 evaluation image has a near-duplicate among the training images (a and b), which flatters the "
        "trained networks."
    ]
    assert not [note for note in footnotes(build_table([run(FINE_TUNE)])) if "near-duplicate" in note]


@pytest.mark.parametrize("kinds", [1, 300])
def test_a_set_of_which_many_are_alike_ends_and_copies_are_found(
    kinds: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Hashes say little of such images; so many pairs have to be looked at that all of them never could."""
    images, random = 1200, np.random.default_rng(0)
    signs = (random.integers(0, 2, (kinds, 64)) * 2 - 1).astype(np.float32)[np.arange(images) % kinds]
    sketches = random.standard_normal((images, 259)).astype(np.float32)
    sketches[images // 2 :] = sketches[: images // 2] + 1e-3  # of each image of the training one of the evaluation
    descriptions = candidates.Descriptions(np.stack([signs, -signs]), np.stack([sketches, sketches[::-1]]), {})
    splits = ["train"] * (images // 2) + ["eval"] * (images // 2)
    files = [ImageFile(Path(str(n)), f"{n:064x}", split, 0) for n, split in enumerate(splits)]
    exact = candidates.find_candidates(files, descriptions)
    looked: list[int] = []
    measure = candidates._squared_distances

    def count(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        looked.append(len(one) * len(other))
        return measure(one, other)

    monkeypatch.setattr(candidates, "_MOST_SKETCHED", 100 * images)
    monkeypatch.setattr(candidates, "_BLOCK", 20)
    monkeypatch.setattr(candidates, "_squared_distances", count)
    with caplog.at_level(logging.INFO):
        bounded = candidates.find_candidates(files, descriptions)
    assert sum(looked) <= 4 * 100 * images  # of two splits and their mirror images
    assert ("images are alike to more others than the 100 of each that are looked at" in caplog.text) == (kinds == 1)
    copies = {(n, n + images // 2) for n in range(images // 2)}
    for found in (exact, bounded):
        assert {(each.first, each.second) for each in found[: images // 2]} == copies
    assert kinds == 1 or {(c.first, c.second) for c in exact} == {(c.first, c.second) for c in bounded}


def test_a_candidate_across_splits_is_not_lost_among_those_within_one(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    kinds = (random.integers(0, 2, (60, 64)) * 2 - 1).astype(np.float32)
    sketches = random.standard_normal((60, 259)).astype(np.float32)
    signs = np.concatenate([kinds, kinds])  # of the first 50 kinds both are trained on, of the others one is evaluated
    sketches = np.concatenate([sketches, sketches + np.where(np.arange(60) < 50, 1e-4, 1e-2)[:, None]]).astype(
        np.float32
    )
    descriptions = candidates.Descriptions(np.stack([signs, -signs]), np.stack([sketches, sketches[::-1]]), {})
    splits = ["train"] * 110 + ["eval"] * 10
    files = [ImageFile(Path(str(n)), f"{n:064x}", split, 0) for n, split in enumerate(splits)]
    across = {(n, n + 60) for n in range(50, 60)}
    assert across <= {(each.first, each.second) for each in candidates.find_candidates(files, descriptions)}
    monkeypatch.setattr(candidates, "MOST_COMPARED", 20)
    assert across <= {(each.first, each.second) for each in candidates.find_candidates(files, descriptions)}
