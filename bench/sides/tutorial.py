"""The training loop of PyTorch's tutorial on transfer learning, which has the same photographs of ants and bees.

    python -m bench.sides.tutorial FOLDER ARCH WORKERS [IMAGES [probe]]       tells the seconds of an epoch

Images are decoded, scaled and cut in each epoch by the workers of a DataLoader. Of a probe the head alone is trained,
behind a network that is applied in each epoch.
"""

from __future__ import annotations

import sys

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision import datasets, transforms

from bench.sides.epochs import BATCH_SIZE, CROP, MEAN, RESIZE, STD, EpochClock, network, sgd, train_folder
from bench.sides.telling import say

Images = Dataset[tuple[torch.Tensor, torch.Tensor]]


def dataset_of(photographs: str, images: int = 0) -> Images:
    """Return the training images, or so many of them evenly spaced."""
    steps = [transforms.Resize(RESIZE), transforms.CenterCrop(CROP), transforms.RandomHorizontalFlip()]
    transform = transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
    folder: Images = datasets.ImageFolder(str(train_folder(photographs)), transform)
    count = len(folder)  # type: ignore[arg-type]
    return Subset(folder, [index * count // images for index in range(images)]) if images else folder


def loader_of(dataset: Images, workers: int) -> DataLoader[tuple[torch.Tensor, torch.Tensor]]:
    """Return what yields shuffled batches, of which the last may be smaller."""
    return DataLoader(dataset, batch_size=BATCH_SIZE, shuffle=True, num_workers=workers)


def probe(arch: str) -> nn.Module:
    """Return a network of which the last layer alone is trained."""
    model = network(arch)
    for parameter in model.parameters():
        parameter.requires_grad = False
    head = "fc" if arch == "resnet50" else "classifier"
    setattr(model, head, nn.Linear(getattr(model, head).in_features, 2))
    return model


def train(model: nn.Module, dataset: Images, workers: int) -> float:
    """Train, and return the seconds of an epoch."""
    loader, clock = loader_of(dataset, workers), EpochClock(len(dataset))  # type: ignore[arg-type]
    criterion, optimizer = nn.CrossEntropyLoss(), sgd(model)
    while True:
        model.train()
        running_loss, running_corrects = 0.0, 0.0
        for inputs, labels in loader:
            optimizer.zero_grad()
            outputs = model(inputs)
            _, predictions = torch.max(outputs, 1)
            loss = criterion(outputs, labels)
            loss.backward()
            optimizer.step()
            running_loss += loss.item() * inputs.size(0)
            running_corrects += torch.sum(predictions == labels).item()
            if clock.end_step():
                return clock.seconds()


if __name__ == "__main__":
    photographs, arch, workers, *more = sys.argv[1:]
    images = int(more[0]) if more else 0
    say(train(probe(arch) if more[1:] == ["probe"] else network(arch), dataset_of(photographs, images), int(workers)))
