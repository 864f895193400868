"""Keep what a table needs of each run's predictions in one file of the home, so that none is read for a table anew.

It may be deleted at any time. What is not whole, or of another format, is as if it were not there.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analysis.predictions.correctness import CONDENSED, condense
from tlft.config.addresses import hide_password, place_of
from tlft.database.places import local_folder, tracking_uri
from tlft.errors import TlftError
from tlft.names import GROUP, Artifact
from tlft.records.folds import join_frames, parts_of
from tlft.records.record import Record
from tlft.storage.files import atomic_write
from tlft.tracking.reader import ArtifactReader

if TYPE_CHECKING:
    from pandas import DataFrame

log = logging.getLogger(__name__)

_RUN, _STATE = "run_id", "state"

_HEADER = b"tlft predictions, format 1\n"
"""What the file begins with; then come the 32 bytes of the SHA-256 of the rest, and the rest: a table in Parquet."""


def memory_of(home: Path, uri: str | None, experiment_id: str) -> Path:
    """Return the file of an experiment of a tracking store; None is the home's own store."""
    place = place_of(hide_password(tracking_uri(uri, home)), experiment_id, own=tracking_uri(None, home))
    return home / "cache" / "predictions" / f"{place}.parquet"


def recall_predictions(
    file: Path, records: Sequence[Record], reader: ArtifactReader, existing: Collection[str] = ()
) -> Mapping[str, DataFrame]:
    """Return run id -> what correctness.py needs of its predictions; one that cannot be read is left out.

    Those that `file` does not have, or not as they are now, are read, and the file is written anew. It keeps those of
    `existing` runs, by id, that are not asked for.
    """
    parts = parts_of(records)
    states = {record.run_id: _state_of(record) for record in parts}
    remembered = _read(file)
    frames = {
        run_id: frame
        for run_id, frame in remembered.items()
        if states.get(run_id) and frame[_STATE].iat[0] == states[run_id]
    }
    missing = [record for record in parts if record.run_id not in frames]
    read = reader.predictions(missing)
    new = {record.run_id: condense(read[record.run_id]) for record in missing if record.run_id in read}
    frames |= new
    others = {run_id: remembered[run_id] for run_id in remembered.keys() & set(existing) - states.keys()}
    if new or len(frames) + len(others) != len(remembered):
        others_states = {run_id: str(frame[_STATE].iat[0]) for run_id, frame in others.items()}
        _write(file, frames | others, states | others_states)
    return join_frames(records, frames)


def _state_of(record: Record) -> str:
    """Return what tells a run's file of predictions from another of the same run; nothing if nothing does."""
    digest = record.files.get(Artifact.PREDICTIONS, "")
    folder = local_folder(record.artifacts) if record.artifacts else None
    if folder is None:
        return json.dumps(digest) if digest else ""
    try:
        status = (folder / Artifact.PREDICTIONS).stat()
    except OSError:
        return ""
    return json.dumps([digest, status.st_size, status.st_mtime_ns])


def _read(file: Path) -> dict[str, DataFrame]:
    import pyarrow
    from pyarrow import parquet

    try:
        kept = memoryview(file.read_bytes())
        begin = len(_HEADER) + hashlib.sha256().digest_size
        body = kept[begin:]
        if kept[:begin] != _HEADER + hashlib.sha256(body).digest():
            raise ValueError("damaged, or of another format")
        frame = parquet.read_table(pyarrow.BufferReader(body)).to_pandas()
        if frame.empty or {*frame} - {GROUP} != {*CONDENSED, _RUN, _STATE}:
            raise ValueError("no rows, or other columns")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        log.debug("%s: %s", file, error)
        return {}
    ids = frame[_RUN].to_numpy()
    starts = [0, *(np.flatnonzero(ids[1:] != ids[:-1]) + 1).tolist()]  # a run's rows stand together
    return {ids[start]: frame[start:end] for start, end in zip(starts, [*starts[1:], len(ids)], strict=True)}


def _write(file: Path, frames: Mapping[str, DataFrame], states: Mapping[str, str]) -> None:
    import pandas as pd

    if not frames:
        with suppress(OSError):
            file.unlink(missing_ok=True)
        return
    written = io.BytesIO()
    sizes = [len(frame) for frame in frames.values()]
    columns = {_RUN: np.repeat(list(frames), sizes), _STATE: np.repeat([states[run_id] for run_id in frames], sizes)}
    pd.concat(frames.values(), ignore_index=True).assign(**columns).to_parquet(written, index=False)
    body = written.getvalue()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(file, _HEADER + hashlib.sha256(body).digest() + body, durable=False)
    except (OSError, TlftError) as error:  # a table is made without it too
        log.debug("%s: %s", file, error)
