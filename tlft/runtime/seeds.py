"""Give every use of randomness in a run a stream of its own, so that one cannot disturb another."""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(seed: int, *purpose: str | int) -> int:
    """Return 63 bits that depend on the run's seed and on what they are for, such as `("order", epoch)`."""
    text = " ".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """Return a generator for one purpose; the same arguments give the same numbers in any process."""
    return np.random.Generator(np.random.PCG64(derive_seed(seed, *purpose)))
