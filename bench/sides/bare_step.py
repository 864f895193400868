"""The limit: forward, backward and optimizer alone, `python -m bench.sides.bare_step ARCH PRECISION IMAGES`.

On batches that lie in memory already, in channels-last order and in the precision of tlft, with its memory setting;
nothing is decoded, drawn, logged or kept.
"""

from __future__ import annotations

import sys
import time

import torch
from torch.nn import functional as F

from bench.sides.epochs import BATCH_SIZE, CROP, network, sgd
from bench.sides.telling import say
from tlft.runtime.device import available_threads, resolve_precision
from tlft.runtime.memory import keep_freed


def train(arch: str, precision: str, images: int) -> float:
    """Train for an epoch that warms up and another, and return the seconds of that."""
    keep_freed()
    torch.set_num_threads(available_threads())
    in_bfloat16 = resolve_precision(precision, torch.device("cpu")) == "bfloat16"
    model = network(arch).to(memory_format=torch.channels_last).train()
    sizes = [min(BATCH_SIZE, images - start) for start in range(0, images, BATCH_SIZE)]
    batches = [torch.rand(n, 3, CROP, CROP).contiguous(memory_format=torch.channels_last) for n in sizes]
    labels = [torch.arange(n) % 2 for n in sizes]
    optimizer, started = sgd(model), 0.0
    for _ in range(2):
        started = time.perf_counter()
        for inputs, expected in zip(batches, labels, strict=True):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=in_bfloat16):
                outputs = model(inputs)
            loss = F.cross_entropy(outputs.float(), expected)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            loss.item()
    return time.perf_counter() - started


if __name__ == "__main__":
    say(train(sys.argv[1], sys.argv[2], int(sys.argv[3])))
