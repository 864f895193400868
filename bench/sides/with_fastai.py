"""fastai's Learner with its defaults: `python -m bench.sides.with_fastai FOLDER ARCH`.

Its validation after each epoch is left out, as the other sides have none, and the last, smaller batch is not dropped.
"""

from __future__ import annotations

import sys
from functools import partial

from fastai.vision.all import (
    SGD,
    Callback,
    CancelFitException,
    CancelValidException,
    CrossEntropyLossFlat,
    Flip,
    ImageDataLoaders,
    Learner,
    Normalize,
    Resize,
    imagenet_stats,
)

from bench.sides.epochs import BATCH_SIZE, CROP, LEARNING_RATE, MOMENTUM, EpochClock, network
from bench.sides.telling import say


class _Clock(Callback):  # type: ignore[misc]
    """Tell a clock of each step, end with the last one that it needs, and leave validation out."""

    def __init__(self, clock: EpochClock) -> None:
        self.clock = clock

    def after_batch(self) -> None:
        if self.clock.end_step():
            raise CancelFitException

    def before_validate(self) -> None:
        raise CancelValidException


def train(photographs: str, arch: str) -> float:
    """Train, and return the seconds of an epoch."""
    loaders = ImageDataLoaders.from_folder(
        photographs,
        train="train",
        valid="val",
        item_tfms=Resize(CROP),
        batch_tfms=[Flip(), Normalize.from_stats(*imagenet_stats)],
        bs=BATCH_SIZE,
        device="cpu",
        drop_last=False,
    )
    clock, optimizer = EpochClock(len(loaders.train_ds)), partial(SGD, mom=MOMENTUM)
    learner = Learner(loaders, network(arch), loss_func=CrossEntropyLossFlat(), opt_func=optimizer, cbs=_Clock(clock))
    assert len(loaders.train) == clock.steps - 1
    learner.fit(2, LEARNING_RATE)
    return clock.seconds()


if __name__ == "__main__":
    say(train(*sys.argv[1:3]))
