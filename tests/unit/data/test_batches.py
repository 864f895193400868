from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from conftest import Configure
from tiny_network import CPU, TRANSFORM, make_split

from tlft.data.batches import SelectedPixels, open_images
from tlft.data.dataset import open_dataset


def test_flips_mirror_left_to_right() -> None:
    split = make_split(2)
    plain, _ = split.batch(np.array([0, 1]), CPU.device)
    flipped, labels = split.batch(np.array([0, 1]), CPU.device, np.array([False, True]))
    assert torch.equal(flipped[0], plain[0])
    assert torch.equal(flipped[1], plain[1].flip(-1))
    assert labels.tolist() == [0, 1]
    (pixels,) = split.pixels[np.array([1])]
    assert pixels[0, 0, 0] != pixels[0, -1, 0]


def test_batch_is_normalised_by_the_transform() -> None:
    split = make_split(1)
    images, _ = split.batch(np.array([0]), CPU.device)
    expected = (torch.from_numpy(split.pixels[np.array([0])]).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
    assert torch.allclose(images, expected, atol=1e-6)
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_training_images_of_another_size_are_those_of_a_run_of_that_size(
    configure: Configure, tmp_path: Path, tiny_folder: Path
) -> None:
    dataset = open_dataset(configure("data=imagefolder", f"data.root={tiny_folder}").data, tmp_path, 1)
    small, large = TRANSFORM, TRANSFORM.sized(24)
    both = open_images(dataset, large, tmp_path, "error", 1, small)
    alone, evaluated = (
        open_images(dataset, small, tmp_path, "error", 1),
        open_images(dataset, large, tmp_path, "error", 1),
    )
    every = np.arange(len(both.train))
    assert np.array_equal(both.train.pixels[every], alone.train.pixels[every])
    assert both.train.pixels[every].shape[1:] == (8, 8, 3)
    assert both.train.transform == small
    every = np.arange(len(both.eval))
    assert np.array_equal(both.eval.pixels[every], evaluated.eval.pixels[every])
    assert both.eval.pixels[every].shape[1:] == (24, 24, 3)
    assert set(both.decoded.rows) == {image.sha256 for image in dataset.images}


def test_selections_of_selections_copy_no_more_than_a_batch() -> None:
    split = make_split(10)
    thinned = replace(split, pixels=SelectedPixels(split.pixels, np.arange(10)[::-1])).thinned(4)
    assert isinstance(thinned.pixels, SelectedPixels)
    assert isinstance(thinned.pixels.source, SelectedPixels)
    assert thinned.pixels.source.source is split.pixels
    assert np.array_equal(thinned.pixels[np.array([0, 3])], split.pixels[np.array([9, 0])])
    assert [file.path for file in thinned.files] == [split.files[index].path for index in (0, 3, 6, 9)]
