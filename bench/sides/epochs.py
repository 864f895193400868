"""What all sides that train have in common: the network, the recipe of the reference task, and a clock of epochs."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from torch import nn

BATCH_SIZE = 64
LEARNING_RATE, MOMENTUM = 0.01, 0.5
CLASSES = 2
RESIZE, CROP = 256, 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet."""


def network(arch: str) -> nn.Module:
    """Return a network with random weights, as its library builds it: `resnet50`, or `efficientnet_lite0`."""
    torch.manual_seed(0)
    if arch == "resnet50":
        from torchvision.models import resnet50

        model: nn.Module = resnet50(num_classes=CLASSES)
    else:
        import timm

        model = timm.create_model(f"tf_{arch}", num_classes=CLASSES)
    return model


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    """Return the reference recipe's optimizer of what is trained."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.SGD(trained, lr=LEARNING_RATE, momentum=MOMENTUM)


class EpochClock:
    """Tells what an epoch takes, from the end of its first step to that of the next epoch's first step.

    So the first step of all warms up, and what a library does between two epochs counts.
    """

    def __init__(self, images: int) -> None:
        self._steps_of_epoch = -(-images // BATCH_SIZE)
        self._ends: list[float] = []

    @property
    def steps(self) -> int:
        """How many steps must be taken."""
        return self._steps_of_epoch + 1

    def end_step(self) -> bool:
        """Hear that a step has ended; tells whether it was the last one that was needed."""
        self._ends.append(time.perf_counter())
        return len(self._ends) == self.steps

    def seconds(self) -> float:
        """Return the seconds of an epoch."""
        return self._ends[self._steps_of_epoch] - self._ends[0]


def train_folder(photographs: str) -> Path:
    """Return the folder of the training images, a folder for each class."""
    return Path(photographs) / "train"
