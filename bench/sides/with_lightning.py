"""Lightning's Trainer with its defaults: `python -m bench.sides.with_lightning FOLDER ARCH WORKERS`.

It has no loader of its own, so it gets that of the tutorial, with the same number of workers. What it writes lies in
the folder in which it is started.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch.nn import functional as F

from bench.sides.epochs import EpochClock, network, sgd
from bench.sides.telling import say
from bench.sides.tutorial import dataset_of, loader_of


class _Classifier(LightningModule):  # type: ignore[misc]
    """A network under the reference recipe."""

    def __init__(self, arch: str) -> None:
        super().__init__()
        self.model = network(arch)

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], _index: int) -> torch.Tensor:
        inputs, labels = batch
        return F.cross_entropy(self.model(inputs), labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return sgd(self.model)


class _Clock(Callback):  # type: ignore[misc]
    """Tell a clock of each step."""

    def __init__(self, clock: EpochClock) -> None:
        self.clock = clock

    def on_train_batch_end(self, *_: Any) -> None:
        self.clock.end_step()


def train(photographs: str, arch: str, workers: int) -> float:
    """Train, and return the seconds of an epoch."""
    dataset = dataset_of(photographs)
    clock = EpochClock(len(dataset))  # type: ignore[arg-type]
    trainer = Trainer(max_epochs=2, max_steps=clock.steps, accelerator="cpu", callbacks=[_Clock(clock)])
    trainer.fit(_Classifier(arch), loader_of(dataset, workers))
    return clock.seconds()


if __name__ == "__main__":
    say(train(sys.argv[1], sys.argv[2], int(sys.argv[3])))
