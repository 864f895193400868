"""Which images each step of an epoch has, and what is done to them at random before the network sees them.

All of it is drawn from the seed, the epoch, and the place in it, so that there is no random state to go on with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from tlft.config.schema import Config
from tlft.data.batch_borders import batch_borders
from tlft.data.batches import Split
from tlft.pixels.augmentation import augmentation_of
from tlft.runtime.seeds import derive_seed, generator
from tlft.training.step_profile import phase

Borders = Sequence[tuple[int, int]]
"""Of each batch of a step where it begins and ends among the images of an epoch."""


def steps_of(images: int, config: Config) -> list[Borders]:
    """Return the steps of an epoch of so many images, each with its `training.accumulate` batches."""
    batches = list(pairwise(batch_borders(images, config.training.batch_size)))
    each = config.training.accumulate
    return [batches[first : first + each] for first in range(0, len(batches), each)]


def draw_flips(config: Config, epoch: int, count: int) -> np.ndarray:
    """Tell which of the training images are mirrored in an epoch, where they are mirrored at all: bool [count]."""
    return np.asarray(generator(config.seed, "flips", epoch).random(count) < 0.5)


def draw_order(config: Config, epoch: int, labels: np.ndarray) -> np.ndarray:
    """Return in which order an epoch has the training images, of these labels, int64 [n]: their indices, int64 [n].

    With `data.sampler=balanced` an image comes not at all, or several times: each draw takes all classes alike.
    """
    random = generator(config.seed, "order", epoch)
    if config.data.sampler == "uniform":
        return random.permutation(len(labels))
    shares = 1 / np.bincount(labels)[labels]
    return random.choice(len(labels), len(labels), p=shares / shares.sum())


@dataclass(frozen=True)
class EpochImages:
    """The training images as one epoch has them, in its order and changed as it has drawn it."""

    images: Split
    config: Config
    epoch: int
    device: torch.device

    @cached_property
    def _order(self) -> np.ndarray:
        return draw_order(self.config, self.epoch, self.images.labels)

    @cached_property
    def _flips(self) -> np.ndarray:
        return draw_flips(self.config, self.epoch, len(self.images))

    def batches(self, borders: Borders, step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of a step, which is counted from 0 over all epochs; layers draw anew for each."""
        for place, (start, end) in enumerate(borders):
            with phase("batch"):
                batch = self._batch(start, end)
            which = (place,) if place else ()  # the first as a step of one batch has it
            _seed_layers(derive_seed(self.config.seed, "layers", step, *which), self.device)  # dropout and its like
            yield batch

    def _batch(self, start: int, end: int) -> tuple[Tensor, Tensor]:
        images, seed = self.images, self.config.seed
        indices = self._order[start:end]
        flips = self._flips[indices] if self.config.training.flip else None
        augmentation = augmentation_of(self.config.augment, images.transform)
        if augmentation is None:
            return images.batch(indices, self.device, flips)
        seeds = [derive_seed(seed, "augment", self.epoch, place) for place in range(start, end)]
        batch = images.augmented_batch(indices, self.device, flips, augmentation, seeds)
        classes = int(images.labels.max()) + 1
        return augmentation.mix(*batch, classes, derive_seed(seed, "mix", self.epoch, start))


def _seed_layers(seed: int, device: torch.device) -> None:
    """Seed what layers draw from, as `torch.manual_seed` does.

    That one seeds all kinds of devices, and of each that is not in use takes down the stack of calls.
    """
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)
