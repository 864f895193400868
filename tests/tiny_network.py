"""A network and a split of images that are trained in a moment, and a report that remembers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from tlft.data.batches import Split
from tlft.data.splits import ImageFile
from tlft.pixels.transforms import Transform
from tlft.runtime.device import Machine
from tlft.training.loop import TrainingState

TRANSFORM = Transform(8, 8, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
CPU = Machine(torch.device("cpu"), "float32", 1)


def make_split(count: int = 10) -> Split:
    random = np.random.default_rng(0)
    labels = np.arange(count) % 2
    pixels = random.integers(0, 100, (count, 8, 8, 3), dtype=np.uint8)
    pixels[labels == 1, :, :, 0] += 100
    files = tuple(ImageFile(Path(f"{i}.png"), f"{i:064x}", "train", int(label)) for i, label in enumerate(labels))
    return Split(files, pixels, TRANSFORM)


class TinyClassifier(nn.Module):
    """A convolution with batch norm, dropout, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(4, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.fc(self.drop(self.norm(self.conv(images)).relu().mean((2, 3))))  # type: ignore[no-any-return]


class Recorder:
    def __init__(self) -> None:
        self.steps: list[tuple[int, int, float]] = []
        self.epochs: list[dict[str, float]] = []

    def step(self, images: int, loss: float, model: nn.Module, state: TrainingState) -> None:
        self.steps.append((state.epoch + 1, images, loss))

    def epoch(self, metrics: dict[str, float], model: nn.Module, state: TrainingState) -> None:
        self.epochs.append(metrics)
        model.eval()  # as an evaluation would leave it
        torch.rand(17)  # and as it might disturb the random state


class TwoStages(nn.Module):
    """Two convolutions, each with its batch norm, then dropout and a classifier: a backbone of two stages and a head.

    Without biases before a norm, whose gradients are no more than rounding.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, bias=False)
        self.norm1 = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 4, 3, bias=False)
        self.norm2 = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.2)
        self.fc = nn.Linear(4, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        hidden = self.norm1(self.conv1(images)).relu()
        hidden = self.norm2(self.conv2(hidden)).relu()
        return self.fc(self.drop(hidden.mean((2, 3))))  # type: ignore[no-any-return]
