"""Serve decoded images in batches: which images in which order, flipped or not, as a network's input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from tlft.data.dataset import Dataset
from tlft.data.splits import ImageFile
from tlft.errors import TlftError
from tlft.pixels.augmentation import Augmentation
from tlft.pixels.pixel_store import DecodedImages, decode_images
from tlft.pixels.stored_pixels import StoredPixels
from tlft.pixels.transforms import Transform


@dataclass(frozen=True)
class SelectedPixels:
    """Some of many images, at the positions `rows`, int64 [n]; they stay where they are."""

    source: Pixels
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        return self.source[self.rows[indices]]


def _whole(pixels: Pixels, index: int) -> np.ndarray:
    """Return an image uncropped, uint8 [height, width, 3]."""
    if isinstance(pixels, SelectedPixels):
        return _whole(pixels.source, int(pixels.rows[index]))
    whole: np.ndarray = pixels.whole(index) if isinstance(pixels, StoredPixels) else pixels[index]
    return whole


Pixels = np.ndarray | StoredPixels | SelectedPixels
"""Images of one size in a fixed order, uint8 [n, crop, crop, 3]; taking some copies no others."""


class Inputs(Protocol):
    """What a network is given of some images: pixels, or what its frozen part has said of them."""

    def __len__(self) -> int:
        """Count the images."""

    def batch(self, indices: np.ndarray, device: torch.device, flips: np.ndarray | None = None) -> Tensor:
        """Return the inputs at some positions, int64 [b]; mirrored left to right where `flips`, bool [b], is true."""


@dataclass(frozen=True)
class PixelInputs:
    """Images as a network takes them, made of pixels when they are asked for."""

    pixels: Pixels
    transform: Transform

    def __len__(self) -> int:
        return len(self.pixels)

    def batch(self, indices: np.ndarray, device: torch.device, flips: np.ndarray | None = None) -> Tensor:
        """Return images as `normalize` gives them, float32 [b, 3, crop, crop]."""
        pixels = self.pixels[indices]
        if flips is not None:
            pixels[flips] = pixels[flips, :, ::-1]
        return normalize(pixels, self.transform, device)


@dataclass(frozen=True)
class Split:
    """The decoded images of one split: where each came from, and its pixels, in one order.

    Attributes:
        features: what a frozen part of the network has said of them, to be given in place of images; else None.
    """

    files: tuple[ImageFile, ...]
    pixels: Pixels
    transform: Transform
    features: Inputs | None = None

    def __len__(self) -> int:
        return len(self.files)

    @cached_property
    def labels(self) -> np.ndarray:
        """The class of each image, int64 [n]."""
        return np.array([file.label for file in self.files], dtype=np.int64)

    @property
    def inputs(self) -> Inputs:
        """What the network is given of them."""
        return PixelInputs(self.pixels, self.transform) if self.features is None else self.features

    def thinned(self, count: int) -> Split:
        """Return the split cut to so many images, evenly spaced, so that no class goes missing."""
        kept = np.linspace(0, len(self) - 1, min(count, len(self))).round().astype(np.int64)
        files = tuple(self.files[index] for index in kept)
        return Split(files, SelectedPixels(self.pixels, kept), self.transform)

    def batch(
        self, indices: np.ndarray, device: torch.device, flips: np.ndarray | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the inputs at some positions, int64 [b], as `inputs` gives them, and their labels, int64 [b]."""
        return self.inputs.batch(indices, device, flips), self._labels(indices, device)

    def augmented_batch(
        self,
        indices: np.ndarray,
        device: torch.device,
        flips: np.ndarray | None,
        augmentation: Augmentation,
        seeds: Sequence[int],
    ) -> tuple[Tensor, Tensor]:
        """Return the same of images that were changed at random, each by a seed of its own, before they are flipped."""
        wholes = [_whole(self.pixels, index) for index in indices.tolist()]
        inputs = PixelInputs(augmentation.images(wholes, seeds), self.transform)
        return inputs.batch(np.arange(len(indices)), device, flips), self._labels(indices, device)

    def _labels(self, indices: np.ndarray, device: torch.device) -> Tensor:
        return torch.from_numpy(self.labels[indices]).to(device)


def normalize(pixels: np.ndarray, transform: Transform, device: torch.device) -> Tensor:
    """Turn pixels, uint8 [b, crop, crop, 3], into a network's input; only bytes travel to the device.

    Returns:
        float32 [b, 3, crop, crop] in channels-last order.
    """
    mean = torch.tensor(transform.mean, device=device).mul_(255)
    scale = torch.tensor(transform.std, device=device).mul_(255).reciprocal_()
    images = torch.from_numpy(pixels).to(device).float().sub_(mean).mul_(scale)
    return images.permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Images:
    """All splits of a run; `holdout` is None where none is kept back.

    Attributes:
        skipped: file -> what is wrong with it.
        decoded: the images of all splits together.
    """

    train: Split
    eval: Split
    holdout: Split | None
    skipped: dict[str, str]
    decoded: DecodedImages

    @property
    def splits(self) -> dict[str, Split]:
        """The splits that there are, by the names of their attributes."""
        splits = {"train": self.train, "eval": self.eval, "holdout": self.holdout}
        return {name: split for name, split in splits.items() if split is not None}


def open_images(
    dataset: Dataset,
    transform: Transform,
    cache: Path,
    on_bad_image: str,
    workers: int,
    trained_at: Transform | None = None,
) -> Images:
    """Decode every image once, into records that all runs share; `trained_at` is the transform of training images.

    Raises:
        BadImageError: for a file that is no image, if `on_bad_image` is `error`.
        TlftError: if skipping leaves a split without images of some class.
    """
    decoded = decode_images(dataset.files, transform, cache / "decoded", on_bad_image=on_bad_image, workers=workers)
    splits: dict[str, Split] = {}
    for name in ("train", "eval", "holdout"):
        files = tuple(image for image in dataset.split(name) if image.sha256 in decoded.rows)
        rows = np.array([decoded.rows[image.sha256] for image in files], dtype=np.int64)
        split = splits[name] = Split(files, SelectedPixels(decoded.pixels, rows), transform)
        if dataset.split(name) and (missing := set(range(len(dataset.classes))) - set(split.labels.tolist())):
            raise TlftError(
                f"{dataset.source}: every {name} image of class {dataset.classes[min(missing)]} was skipped as "
                "unreadable; replace them"
            )
    if trained_at is not None and trained_at != transform:
        files = splits["train"].files
        of_training = {image.sha256: image.path for image in files}
        resized = decode_images(of_training, trained_at, cache / "decoded", workers=workers)
        rows = np.array([resized.rows[image.sha256] for image in files], dtype=np.int64)
        splits["train"] = Split(files, SelectedPixels(resized.pixels, rows), trained_at)
    skipped = {str(image.path): decoded.bad[image.sha256] for image in dataset.images if image.sha256 in decoded.bad}
    holdout = splits["holdout"] if splits["holdout"].files else None
    return Images(splits["train"], splits["eval"], holdout, skipped, decoded)
