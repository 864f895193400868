"""Which images the network of a run was trained on, by this run and by those that it starts from (`model=run`).

Each run keeps them in a file, with those of its parent, so that no more than one run need be asked.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tlft.config.schema import Config
from tlft.data.dataset import Dataset
from tlft.data.splits import ImageFile
from tlft.duplicates.near_duplicates import Pair, find_near_duplicates
from tlft.errors import TlftError
from tlft.names import Artifact, short_id
from tlft.pixels.pixel_store import decode_all
from tlft.pixels.transforms import Transform
from tlft.storage.files import display_name, path_of, relative_name
from tlft.tracking.reader import ArtifactReader, load_record

if TYPE_CHECKING:
    import pandas as pd

    from tlft.runs.context import RunContext

log = logging.getLogger(__name__)

_COLUMNS = ["sha256", "label", "file", "folder"]
_NAMED = 3


def write_training_images(context: RunContext, path: Path) -> None:
    """Write a row for each image that the network was trained on; nothing where a parent does not tell its own."""
    import pandas as pd

    config, dataset = context.config, context.identity.dataset
    rows = [
        (file.sha256, dataset.classes[file.label], relative_name(file.path, dataset.root), display_name(dataset.root))
        for file in (context.images.train.files if config.training.epochs else ())
    ]
    if (parent := context.identity.parent) is not None:
        if (before := _read(config, parent)) is None:
            return
        rows += before.itertuples(index=False, name=None)
    pd.DataFrame(rows, columns=_COLUMNS, dtype=str).drop_duplicates(_COLUMNS[0]).to_parquet(path, index=False)


def _read(config: Config, run_id: str) -> pd.DataFrame | None:
    """Return the images that the network of a run was trained on; None if the run does not tell."""
    import pandas as pd

    reader = ArtifactReader(config.tracking.uri, config.home)
    with reader.file(load_record(run_id, config.tracking.uri, config.home), Artifact.TRAINING_IMAGES) as path:
        try:
            return None if path is None else pd.read_parquet(path, columns=_COLUMNS)
        except (OSError, ValueError) as error:  # damaged
            log.debug("%s: %s", path, error)
            return None


def describe_seen(config: Config, parent: str, dataset: Dataset, transform: Transform, workers: int) -> str:
    """Return which evaluation images a parent was trained on, exactly or nearly, in a line; nothing for none.

    Of the hold-out, by which settings are chosen, those that it was trained on exactly.

    Near-duplicates are looked for where the images of the parent are still decoded, or where they were.
    """
    by_whom = f"by run {short_id(parent)} or those that it starts from"
    frame = _read(config, parent)
    if frame is None:
        return (
            f"whether evaluation images were trained on before, {by_whom}, cannot be told: it keeps no list of its "
            "training images"
        )
    evaluated, names = dataset.split("eval"), dict(zip(frame["sha256"], frame["file"], strict=True))
    same = [relative_name(file.path, dataset.root) for file in evaluated if file.sha256 in names]
    pairs = _find_near(config, frame, dataset, transform, workers)
    near = [pair for pair in pairs or () if pair.one.sha256 not in names]
    near_count = len({pair.one.sha256 for pair in near})
    parts = []
    if same:
        verb = "was" if len(same) == 1 else "were"
        count = f"{len(same)} of {len(evaluated)} evaluation images {verb}"
        parts.append(f"{count} trained on before, {by_whom} ({_some(same)})")
    if near:
        verb = "is" if near_count == 1 else "are"
        whose = "such images" if same else f"images that were trained on before, {by_whom}"
        listed = _some([f"{pair.one.file} and {names[pair.other.sha256]}" for pair in near])
        parts.append(f"{near_count} of {len(evaluated)} evaluation images {verb} nearly the same as {whose} ({listed})")
    if held_out := sum(file.sha256 in names for file in dataset.split("holdout")):
        verb = "was" if held_out == 1 else "were"
        count = f"{held_out} of {len(dataset.split('holdout'))} hold-out images {verb}"
        parts.append(f"{count} trained on before, {by_whom}")
    if parts:
        parts.append("that flatters the network")
    if pairs is None:
        whose = "others are" if same else "evaluation images are"
        parts.append(f"whether {whose} nearly the same as what was trained on before, {by_whom}, cannot be told")
    return "; ".join(parts)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _find_near(
    config: Config, frame: pd.DataFrame, dataset: Dataset, transform: Transform, workers: int
) -> list[Pair] | None:
    """Return pairs of an evaluation image, the first, and another that a parent was trained on; None: unknown.

    The run's own training images are left out: it says by itself which of them are near-duplicates.
    """
    classes = tuple(dict.fromkeys([*dataset.classes, *frame["label"]]))
    known = {file.sha256 for file in dataset.split("train")}
    before = [
        ImageFile(path_of(file, path_of(folder, Path())), sha256, "train", classes.index(label))
        for sha256, label, file, folder in frame.itertuples(index=False, name=None)
        if sha256 not in known
    ]
    if not before:
        return []
    images = replace(dataset, classes=classes, images=(*dataset.split("eval"), *before))
    cache = config.home / "cache"
    try:
        decoded = decode_all(images.files, transform, cache / "decoded", workers)
    except TlftError as error:  # they are gone, or others
        log.debug("%s", error)
        return None
    pairs = find_near_duplicates(images, decoded, transform, cache, workers)
    return None if pairs is None else list(_evaluated_first(pairs))


def _evaluated_first(pairs: Sequence[Pair]) -> Iterator[Pair]:
    for pair in pairs:
        if pair.leaks:
            yield pair if pair.one.split == "eval" else replace(pair, one=pair.other, other=pair.one)
