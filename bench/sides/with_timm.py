"""timm's loader with its prefetcher, before a plain loop: `python -m bench.sides.with_timm FOLDER ARCH`.

Its own defaults, but for two things: colours are left alone, which takes less time than its default, and the last,
smaller batch is not dropped.
"""

from __future__ import annotations

import sys

import torch
from timm.data import create_dataset, create_loader
from torch import nn

from bench.sides.epochs import BATCH_SIZE, CROP, EpochClock, network, sgd, train_folder
from bench.sides.telling import say


def train(photographs: str, arch: str) -> float:
    """Train, and return the seconds of an epoch."""
    dataset = create_dataset("", root=str(train_folder(photographs)))
    device = torch.device("cpu")
    loader = create_loader(dataset, (3, CROP, CROP), BATCH_SIZE, is_training=True, color_jitter=None, device=device)
    loader.loader.batch_sampler.drop_last = False
    model, clock = network(arch), EpochClock(len(dataset))
    criterion, optimizer = nn.CrossEntropyLoss(), sgd(model)
    while True:
        model.train()
        for inputs, labels in loader:
            optimizer.zero_grad()
            loss = criterion(model(inputs), labels)
            loss.backward()
            optimizer.step()
            if clock.end_step():
                return clock.seconds()


if __name__ == "__main__":
    say(train(*sys.argv[1:3]))
