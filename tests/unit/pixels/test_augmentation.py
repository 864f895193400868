"""What augmentations make of images: what torchvision's transforms make of them, drawn by seeds of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Configure
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from tlft.config.schema import Config
from tlft.data.batches import open_images
from tlft.data.dataset import open_dataset
from tlft.pixels.augmentation import Augmentation, augmentation_of
from tlft.pixels.transforms import Transform
from tlft.training.drawing import EpochImages

TRANSFORM = Transform(40, 32, "bicubic", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
OPTIONS = {
    "random_resized_crop": (),
    "trivial": (v2.TrivialAugmentWide(),),
    "rand": (v2.RandAugment(2, 9),),
    "mixup": (),
    "cutmix": (),
}
CPU = torch.device("cpu")


def augmentation(configure: Configure, name: str, *more: str) -> Augmentation:
    made = augmentation_of(configure(f"augment={name}", *more).augment, TRANSFORM)
    assert made is not None
    return made


@pytest.fixture
def wholes() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, 255, (40 + 7 * index, 64, 3), dtype=np.uint8) for index in range(5)]


@pytest.mark.parametrize("name", OPTIONS)
def test_images_are_those_of_torchvision(configure: Configure, wholes: list[np.ndarray], name: str) -> None:
    made = augmentation(configure, name, "augment.min_scale=0.3").images(wholes, range(5))
    mode = InterpolationMode.BICUBIC
    crop = v2.RandomResizedCrop(32, scale=(0.3, 1.0), interpolation=mode, antialias=True)
    for whole, image, seed in zip(wholes, made, range(5), strict=True):
        torch.manual_seed(seed)
        expected = v2.Compose([crop, *OPTIONS[name]])(torch.from_numpy(whole).permute(2, 0, 1))
        assert np.array_equal(image, expected.permute(1, 2, 0).numpy())


def test_an_image_is_drawn_by_its_own_seed_whatever_stands_beside_it(
    configure: Configure, wholes: list[np.ndarray]
) -> None:
    crops = augmentation(configure, "trivial")
    made = crops.images(wholes, [7, 8, 9, 10, 11])
    assert np.array_equal(crops.images(wholes[2:3], [9])[0], made[2])
    assert not np.array_equal(crops.images(wholes[2:3], [8])[0], made[2])


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_labels_are_mixed_as_the_images_are(configure: Configure, name: str) -> None:
    images = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 3, 32, 32).contiguous()
    labels = torch.tensor([0, 1, 2, 0])
    mixed, shares = augmentation(configure, name, "augment.alpha=1.0").mix(images, labels, 4, seed=5)
    assert shares.shape == (4, 4)
    assert torch.allclose(shares.sum(1), torch.ones(4))
    weight = float(shares[1, 1])  # the second image with a share of the first, which is black
    assert 0 < weight < 1
    assert float(mixed[1].mean()) == pytest.approx(weight, abs=1e-5)
    again: Tensor = augmentation(configure, name, "augment.alpha=1.0").mix(images, labels, 4, seed=5)[0]
    assert torch.equal(mixed, again)


def test_what_mixes_nothing_leaves_a_batch_as_it_is(configure: Configure) -> None:
    images, labels = torch.zeros(2, 3, 4, 4), torch.tensor([1, 0])
    mixed = augmentation(configure, "rand").mix(images, labels, 2, seed=0)
    assert mixed[0] is images
    assert mixed[1] is labels


def test_the_reference_is_no_augmentation_and_none_is_that_without_flips(configure: Configure) -> None:
    assert augmentation_of(configure().augment, TRANSFORM) is None
    without = configure("augment=none")
    assert (without.augment.name, without.training.flip) == ("reference", False)


def open_tiny(config: Config, cache: Path) -> EpochImages:
    dataset = open_dataset(config.data, config.home, 1)
    images = open_images(dataset, TRANSFORM, cache, "error", 1).train
    return EpochImages(images, config, 0, CPU)


def test_crops_are_taken_of_the_whole_image_and_not_of_its_centre(
    configure: Configure, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Images that are black but for their left edge, which no centre crop has."""
    folder = tmp_path / "edges"
    for split in ("train", "val"):
        for number, name in enumerate(("ants", "bees")):
            (folder / split / name).mkdir(parents=True)
            for index in range(4):
                pixels = np.zeros((40, 120, 3), np.uint8)
                pixels[:, :30] = 255 - index - 4 * number - 8 * (split == "val")
                Image.fromarray(pixels).save(folder / split / name / f"{index}.png")
    data = ("data=imagefolder", f"data.root={folder}")
    centre = open_tiny(configure(*data), tmp_path / "cache")
    ((plain, _),) = centre.batches([(0, 8)], 0)
    assert float(plain.max()) < 0
    crops = open_tiny(configure(*data, "augment=random_resized_crop"), tmp_path / "cache")
    ((cropped, labels),) = crops.batches([(0, 8)], 0)
    assert cropped.shape == (8, 3, 32, 32)
    assert sorted(labels.tolist()) == [0] * 4 + [1] * 4
    assert float(cropped.max()) > 1
