"""Cut an epoch into batches: how many images each has, which a run's key must know before torch is imported."""

from __future__ import annotations


def batch_borders(count: int, size: int) -> list[int]:
    """Return where each batch of an epoch of `count` images begins, and where the last one ends.

    A lone image that would be left joins the batch before: networks that normalise over a batch cannot train on one.
    """
    borders = [*range(0, count, size), count]
    if has_lone_image(count, size):
        del borders[-2]
    return borders


def has_lone_image(count: int, size: int) -> bool:
    """Tell whether batches of `size` would leave one image of `count` alone, so that it joins the batch before."""
    return count > size > 1 and count % size == 1
