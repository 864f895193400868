"""Change training images at random before a network sees them, as torchvision's transforms do (`augment=...`).

What is drawn depends on the seed, the epoch and the place in it alone, so that a run goes on to the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from tlft.config.recipe_schema import AugmentConfig, CropConfig, MixConfig, RandConfig
from tlft.pixels.transforms import Transform

if TYPE_CHECKING:
    from torchvision.transforms import v2

Change = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Augmentation:
    """What becomes of training images.

    Attributes:
        crop: side of the squares that come of it.
    """

    config: CropConfig
    crop: int
    interpolation: str

    def images(self, wholes: Sequence[np.ndarray], seeds: Sequence[int]) -> np.ndarray:
        """Return a random crop of each image, uint8 [height, width, 3], drawn by its seed: uint8 [b, crop, crop, 3]."""
        transforms = self._transforms()
        batch = np.empty((len(wholes), self.crop, self.crop, 3), np.uint8)
        for out, whole, seed in zip(batch, wholes, seeds, strict=True):
            torch.default_generator.manual_seed(seed)
            image = torch.from_numpy(whole).permute(2, 0, 1)
            for transform in transforms:
                image = transform(image)
            out[...] = image.permute(1, 2, 0).numpy()
        return batch

    def _transforms(self) -> list[Change]:
        from torchvision.transforms import InterpolationMode, v2

        scale = (self.config.min_scale, 1.0)
        mode = InterpolationMode(self.interpolation)
        crop = v2.RandomResizedCrop(self.crop, scale=scale, interpolation=mode, antialias=True)
        return [crop, *([policy] if (policy := _policy(self.config)) is not None else [])]

    def mix(self, images: Tensor, labels: Tensor, classes: int, seed: int) -> tuple[Tensor, Tensor]:
        """Mix a batch's images, float32 [b, 3, h, w], in pairs, and their labels, int64 [b], where that is asked for.

        Returns:
            The images, and the labels: as they were, or shares of each class, float32 [b, classes].
        """
        if not isinstance(self.config, MixConfig):
            return images, labels
        torch.default_generator.manual_seed(seed)
        mixed: tuple[Tensor, Tensor] = _mixing(self.config, classes)(images, labels)
        return mixed


def _policy(config: CropConfig) -> Change | None:
    from torchvision.transforms import v2

    if config.name == "trivial":
        trivial: Change = v2.TrivialAugmentWide()
        return trivial
    rand: Change | None = (
        v2.RandAugment(config.operations, config.magnitude) if isinstance(config, RandConfig) else None
    )
    return rand


def _mixing(config: MixConfig, classes: int) -> v2.MixUp | v2.CutMix:
    from torchvision.transforms import v2

    return (v2.CutMix if config.name == "cutmix" else v2.MixUp)(alpha=config.alpha, num_classes=classes)


def augmentation_of(config: AugmentConfig, transform: Transform) -> Augmentation | None:
    """Return what is done to training images, which the transform is for; None for the centre crop of `reference`."""
    if not isinstance(config, CropConfig):
        return None
    return Augmentation(config, transform.crop, transform.interpolation)
