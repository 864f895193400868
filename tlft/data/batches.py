"""Serve decoded images in batches: which images in which order, flipped or not, as a network's input.

Where the pixels come from is dataset.py's and pixel_store.py's business.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tlft.data.dataset import Dataset, ImageFile
from tlft.data.pixel_store import DecodedImages, decode_images
from tlft.data.transforms import Transform
from tlft.errors import TlftError


@dataclass(frozen=True)
class Split:
    """The decoded images of one split.

    Attributes:
        files: where each image came from, in a fixed order.
        rows: row of each image in `pixels`, int64 [n].
        labels: int64 [n].
        pixels: uint8 [rows of all splits, crop, crop, 3], memory-mapped.
    """

    files: tuple[ImageFile, ...]
    rows: np.ndarray
    labels: np.ndarray
    pixels: np.ndarray
    transform: Transform

    def __len__(self) -> int:
        return len(self.files)

    def thinned(self, count: int) -> Split:
        """Return the split cut to so many images, evenly spaced, so that no class goes missing."""
        kept = np.linspace(0, len(self) - 1, min(count, len(self))).round().astype(np.int64)
        files = tuple(self.files[index] for index in kept)
        return Split(files, self.rows[kept], self.labels[kept], self.pixels, self.transform)

    def batch(
        self, indices: np.ndarray, device: torch.device, flips: np.ndarray | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return normalised images and labels.

        Args:
            indices: positions in this split, int64 [b].
            device: where the tensors are put; only bytes travel there.
            flips: bool [b]; true where an image is mirrored left to right.

        Returns:
            float32 [b, 3, crop, crop] in channels-last order, and int64 [b].
        """
        pixels = self.pixels[self.rows[indices]]
        if flips is not None:
            pixels[flips] = pixels[flips, :, ::-1]
        mean = torch.tensor(self.transform.mean, device=device).mul_(255)
        scale = torch.tensor(self.transform.std, device=device).mul_(255).reciprocal_()
        images = torch.from_numpy(pixels).to(device).float().sub_(mean).mul_(scale)
        return images.permute(0, 3, 1, 2), torch.from_numpy(self.labels[indices]).to(device)

    def batches(self, size: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all images in their fixed order; the last batch may be smaller."""
        for start in range(0, len(self), size):
            yield self.batch(np.arange(start, min(start + size, len(self))), device)


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
    splits = {name: _split(dataset, name, decoded, transform) for name in ("train", "eval", "holdout")}
    for name, split in splits.items():
        if len(dataset.split(name)) and (gone := set(range(len(dataset.classes))) - set(split.labels.tolist())):
            raise TlftError(
                f"data.root={dataset.root}: every {name} image of class {dataset.classes[min(gone)]} was skipped as "
                "unreadable; replace them"
            )
    holdout = splits["holdout"] if len(splits["holdout"]) else None
    skipped = {str(image.path): decoded.bad[image.sha256] for image in dataset.images if image.sha256 in decoded.bad}
    return Images(splits["train"], splits["eval"], holdout, skipped)


def _split(dataset: Dataset, name: str, decoded: DecodedImages, transform: Transform) -> Split:
    files = tuple(image for image in dataset.split(name) if image.sha256 in decoded.rows)
    rows = np.array([decoded.rows[image.sha256] for image in files], dtype=np.int64)
    labels = np.array([image.label for image in files], dtype=np.int64)
    return Split(files, rows, labels, decoded.array, transform)
