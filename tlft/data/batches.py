"""Serve decoded images in batches: which images in which order, flipped or not, as a network's input.

Where the pixels come from is the business of dataset.py and pixel_store.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from tlft.data.dataset import Dataset, ImageFile
from tlft.data.pixel_store import decode_images
from tlft.data.transforms import Transform
from tlft.errors import TlftError


class Pixels(Protocol):
    """Images of one size in a fixed order, uint8 [n, crop, crop, 3]; an array is one."""

    def __len__(self) -> int: ...

    def __getitem__(self, indices: np.ndarray, /) -> np.ndarray: ...  # a copy of those at some positions, int64 [b]


@dataclass(frozen=True)
class SelectedPixels:
    """Some of an array's images; the array stays where it is, such as mapped into memory.

    Attributes:
        source: the images that are selected from.
        rows: position in `source` of each selected image, int64 [n].
    """

    source: Pixels
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, indices: np.ndarray, /) -> np.ndarray:
        return self.source[self.rows[indices]]


@dataclass(frozen=True)
class Split:
    """The decoded images of one split.

    Attributes:
        files: where each image came from, in a fixed order.
        pixels: of each image, in the same order.
    """

    files: tuple[ImageFile, ...]
    pixels: Pixels
    transform: Transform

    def __len__(self) -> int:
        return len(self.files)

    @cached_property
    def labels(self) -> np.ndarray:
        """The class of each image, int64 [n]."""
        return np.array([file.label for file in self.files], dtype=np.int64)

    def thinned(self, count: int) -> Split:
        """Return the split cut to so many images, evenly spaced, so that no class goes missing."""
        kept = np.linspace(0, len(self) - 1, min(count, len(self))).round().astype(np.int64)
        files = tuple(self.files[index] for index in kept)
        return Split(files, SelectedPixels(self.pixels, kept), self.transform)

    def batch(
        self, indices: np.ndarray, device: torch.device, flips: np.ndarray | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return normalised images, as `normalize` does, and their labels, int64 [b].

        Args:
            indices: positions in this split, int64 [b].
            device: where the tensors are put.
            flips: bool [b]; true where an image is mirrored left to right.
        """
        pixels = self.pixels[indices]
        if flips is not None:
            pixels[flips] = pixels[flips, :, ::-1]
        images = normalize(pixels, self.transform, device)
        return images, torch.from_numpy(self.labels[indices]).to(device)


def normalize(pixels: np.ndarray, transform: Transform, device: torch.device) -> Tensor:
    """Turn pixels into a network's input; only bytes travel to the device.

    Args:
        pixels: uint8 [b, crop, crop, 3].
        transform: has the mean and the standard deviation.
        device: where the tensor is put.

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
        skipped: files that could not be decoded, with the reason, where such files are skipped.
    """

    train: Split
    eval: Split
    holdout: Split | None
    skipped: dict[str, str]


def open_images(dataset: Dataset, transform: Transform, cache: Path, on_bad_image: str, workers: int) -> Images:
    """Decode every image once, into an array that all runs share.

    Raises:
        BadImageError: for a file that is no image, if `on_bad_image` is `error`.
        TlftError: if skipping leaves a split without images of some class.
    """
    decoded = decode_images(dataset.files, transform, cache / "decoded", on_bad_image=on_bad_image, workers=workers)
    splits: dict[str, Split] = {}
    for name in ("train", "eval", "holdout"):
        files = tuple(image for image in dataset.split(name) if image.sha256 in decoded.rows)
        rows = np.array([decoded.rows[image.sha256] for image in files], dtype=np.int64)
        split = splits[name] = Split(files, SelectedPixels(decoded.array, rows), transform)
        if dataset.split(name) and (lost := set(range(len(dataset.classes))) - set(split.labels.tolist())):
            raise TlftError(
                f"data.root={dataset.root}: every {name} image of class {dataset.classes[min(lost)]} was skipped as "
                "unreadable; replace them"
            )
    skipped = {str(image.path): decoded.bad[image.sha256] for image in dataset.images if image.sha256 in decoded.bad}
    return Images(splits["train"], splits["eval"], splits["holdout"] if splits["holdout"].files else None, skipped)
