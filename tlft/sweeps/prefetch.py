"""Fetch and decode what the jobs of a sweep need, each thing once, before the first of them starts.

Jobs that run beside each other would else wait for one that decodes, and for one that looks for near-duplicates. No
torch in here: the jobs have it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from tlft.errors import TlftError
from tlft.models.weights import fetch_weights
from tlft.pixels.pixel_store import decode_images
from tlft.planning.jobs import PlannedJob
from tlft.runtime.device import available_threads


def prefetch(jobs: Sequence[PlannedJob]) -> dict[int, TlftError]:
    """Fetch weights, decode images and find near-duplicates, all into the caches where the jobs find them.

    Returns:
        Number of each job that cannot run -> why not.
    """
    results: dict[Hashable, TlftError | None] = {}
    failed: dict[int, TlftError] = {}
    for job in jobs:
        for key, step in _steps(job):
            if key not in results:
                results[key] = _try(step)
            if (error := results[key]) is not None:
                failed[job.number] = error
                break
    return failed


def _steps(job: PlannedJob) -> list[tuple[Hashable, Callable[[], object]]]:
    """Return what a job needs, each with what tells it from the needs of others."""
    config, identity = job.config, job.identity
    weights, transform = identity.weights, identity.weights.transform
    data, cache = repr(config.data), config.home / "cache"

    def decode() -> object:
        from tlft.duplicates.near_duplicates import find_near_duplicates

        dataset, workers, on_bad = identity.dataset, config.threads or available_threads(), config.data.on_bad_image
        decoded = decode_images(dataset.files, transform, cache / "decoded", on_bad_image=on_bad, workers=workers)
        return find_near_duplicates(dataset, decoded, transform, cache, workers)

    fetch = [(weights.spec, lambda: fetch_weights(weights))] if config.model.name != "scratch" else []
    return [*fetch, ((data, config.home, transform), decode)]


def _try(step: Callable[[], object]) -> TlftError | None:
    try:
        step()
    except TlftError as error:
        return error
    return None
