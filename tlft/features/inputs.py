"""What the frozen part of a network says of images: computed in batches of one size, and given in place of images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from tlft.data.batches import Split, normalize
from tlft.evaluation.predictions import BATCH_SIZE
from tlft.features.border import Border, frozen_output
from tlft.pixels.transforms import Transform
from tlft.runtime.device import Machine
from tlft.runtime.memory import bound_freed


class View(NamedTuple):
    """An image of a split as a network looks at it: as it is, or mirrored left to right."""

    split: Split
    row: int
    is_mirrored: bool

    @property
    def key(self) -> str:
        """What stands for it among the records."""
        return key_of(self.split, self.row, is_mirrored=self.is_mirrored)


def key_of(split: Split, row: int, *, is_mirrored: bool) -> str:
    """Return what stands for an image, or its mirror image, among the records: its SHA-256, and a word."""
    return f"{split.files[row].sha256}{' mirrored' if is_mirrored else ''}"


def bytes_per_image(border: Border) -> int:
    """Return how many bytes cross the border for an image."""
    itemsize: int = getattr(torch, border.dtype).itemsize
    return math.prod(border.shape) * itemsize


def compute(
    model: nn.Module, border: Border, views: Sequence[View], transform: Transform, machine: Machine
) -> Iterator[list[tuple[View, np.ndarray]]]:
    """Yield, a batch at a time, what crosses the border for each view, uint8 [bytes].

    Every batch has one size, filled up with black images, so that no image's bits depend on how many stood beside it.
    """
    pixels = np.zeros((BATCH_SIZE, transform.crop, transform.crop, 3), np.uint8)
    for start in range(0, len(views), BATCH_SIZE):
        chunk = views[start : start + BATCH_SIZE]
        pixels[len(chunk) :] = 0
        for place, (split, row, is_mirrored) in enumerate(chunk):
            image = split.pixels[np.array([row])][0]
            pixels[place] = image[:, ::-1] if is_mirrored else image
        with torch.inference_mode(), machine.autocast():
            features = frozen_output(model, border, normalize(pixels, transform, machine.device))
        if border.channels_last:
            features = features.permute(0, 2, 3, 1)
        records = features.contiguous().cpu().view(torch.uint8).reshape(BATCH_SIZE, -1).numpy()
        yield list(zip(chunk, records, strict=False))
        bound_freed()


@dataclass(frozen=True)
class FeatureInputs:
    """What crosses the border for the images of a split; see `tlft.data.batches.Inputs`.

    Attributes:
        plain: of each image, uint8 [bytes]; None where no epoch looks at it so.
        mirrored: of each mirror image, likewise.
    """

    border: Border
    plain: Sequence[np.ndarray | None]
    mirrored: Sequence[np.ndarray | None]

    def __len__(self) -> int:
        return len(self.plain)

    def batch(self, indices: np.ndarray, device: torch.device, flips: np.ndarray | None = None) -> Tensor:
        """Return what crosses the border, [b, *border.shape]; of the mirror images where `flips`, bool [b], is true."""
        sides = (
            [self.plain] * len(indices)
            if flips is None
            else [(self.plain, self.mirrored)[flip] for flip in flips.tolist()]
        )
        rows = [side[index] for side, index in zip(sides, indices.tolist(), strict=True)]
        assert all(row is not None for row in rows), "an epoch looks at an image as none was said to"
        features = torch.from_numpy(np.concatenate(rows).reshape(len(rows), -1)).view(getattr(torch, self.border.dtype))
        if not self.border.channels_last:
            return features.reshape(-1, *self.border.shape).to(device)
        channels, height, width = self.border.shape
        return features.reshape(-1, height, width, channels).to(device).permute(0, 3, 1, 2)
