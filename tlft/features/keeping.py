"""Keep features on the disk for all runs; where the disk takes them not, in memory for one."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from tlft.data.batches import Split
from tlft.features.border import Border, UncuttableError
from tlft.features.inputs import FeatureInputs, View, bytes_per_image, key_of
from tlft.runtime.memory import available_memory
from tlft.storage.files import mend_of_home
from tlft.storage.records import open_store
from tlft.terminal.progress import describe_space, progress

log = logging.getLogger(__name__)

_MOST_OF_DISK = 0.5
_MOST_OF_MEMORY = 0.25
"""Of what is free may be taken by the features of one run."""

Compute = Callable[[Sequence[View]], Iterator[list[tuple[View, np.ndarray]]]]


class KeptFeatures:
    """The features of one frozen part: those in a folder, and those of this run that it could not take."""

    def __init__(self, folder: Path, border: Border) -> None:
        self._folder, self._border = folder, border
        self._store = open_store(folder)
        self._store.look()
        self._in_memory: dict[str, np.ndarray] = {}

    def complete(
        self, views: Sequence[View], compute: Compute, on_batch: Callable[[], None], max_gb: float | None
    ) -> None:
        """Have the features of all views, computing what is not there, or damaged.

        Args:
            views: all that the run looks at.
            compute: yields features in batches, each with the views that they are of.
            on_batch: called after each.
            max_gb: gigabytes that features may take on the disk; None for half of what is free.

        Raises:
            UncuttableError: if there is room neither on the disk nor in memory.
        """
        by_key = {view.key: view for view in views}
        if damaged := self._store.drop_damaged(by_key, bytes_per_image(self._border)):
            log.warning("%s: %d of the features are damaged, and computed anew", self._folder, len(damaged))
        self._refuse_too_many(by_key, max_gb)
        try:
            if self._store.missing(by_key):
                waiting = "features: waiting for another process that computes the same"
                with self._store.appending(waiting) as appender:
                    self._compute(by_key, compute, on_batch, appender.append)
        except OSError as error:
            reason, mend = error.strerror or error, mend_of_home(error)
            log.warning("%s: cannot keep features (%s), which are for this run alone; %s", self._folder, reason, mend)
            if len(self._store.missing(by_key)) * bytes_per_image(self._border) > _MOST_OF_MEMORY * available_memory():
                raise UncuttableError("what it says of the images fits neither on the disk nor into memory") from None
            self._compute(by_key, compute, on_batch, self._in_memory.__setitem__)
        self._store.touch(key for key in by_key if key in self._store)

    def _refuse_too_many(self, by_key: dict[str, View], max_gb: float | None) -> None:
        size = len(by_key) * bytes_per_image(self._border)
        if max_gb is not None and size > max_gb * 1e9:
            raise UncuttableError(f"what it says would take {describe_space(size)}, more than cache.max_gb={max_gb:g}")
        missing = len(self._store.missing(by_key)) * bytes_per_image(self._border)
        there = next(folder for folder in (self._folder, *self._folder.parents) if folder.is_dir())
        free = shutil.disk_usage(there).free
        if missing > _MOST_OF_DISK * free:
            raise UncuttableError(
                f"what it says would take {describe_space(missing)} of {describe_space(free)} that are free in {there}"
            )

    def _compute(
        self,
        by_key: dict[str, View],
        compute: Compute,
        on_batch: Callable[[], None],
        keep: Callable[[str, np.ndarray], None],
    ) -> None:
        missing = [by_key[key] for key in self._store.missing(by_key)]
        with progress("computing features", len(missing), "images") as advance:
            for batch in compute(missing):
                for view, record in batch:
                    keep(view.key, record)
                advance(len(batch))
                on_batch()

    def inputs(self, split: Split) -> FeatureInputs:
        """Return what the network is given of a split's images, as far as it is there."""
        sides = (
            [self._record(split, index, is_mirrored) for index in range(len(split))] for is_mirrored in (False, True)
        )
        return FeatureInputs(self._border, *sides)

    def _record(self, split: Split, index: int, is_mirrored: bool) -> np.ndarray | None:
        key = key_of(split, index, is_mirrored=is_mirrored)
        if key in self._in_memory:
            return self._in_memory[key]
        return self._store.read(key) if key in self._store else None
