"""Keep what a table needs of each run's predictions in one file of the home, so that none is read for every note anew.

It may be deleted at any time.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tlft.names import Artifact
from tlft.records.record import Record
from tlft.storage.files import atomic_write
from tlft.tracking.client import local_folder
from tlft.tracking.reader import ArtifactReader

if TYPE_CHECKING:
    from pandas import DataFrame

log = logging.getLogger(__name__)

_RUN, _STATE = "run_id", "state"


def recall_predictions(file: Path, records: Sequence[Record], reader: ArtifactReader) -> Mapping[str, DataFrame]:
    """Return run id -> what `analysis.correctness` needs of its predictions; one that cannot be read is left out.

    Those that `file` does not have, or not as they are now, are read, and the file is written anew.
    """
    from analysis.correctness import condense

    states = {record.run_id: _state_of(record) for record in records}
    remembered = _read(file)
    frames = {
        run_id: frame
        for run_id, frame in remembered.items()
        if states.get(run_id) and frame[_STATE].iat[0] == states[run_id]
    }
    missing = [record for record in records if record.run_id not in frames]
    read = reader.predictions(missing)
    new = {record.run_id: condense(read[record.run_id]) for record in missing if record.run_id in read}
    frames |= {run_id: frame.assign(**{_RUN: run_id, _STATE: states[run_id]}) for run_id, frame in new.items()}
    if new or set(frames) != set(remembered):
        _write(file, list(frames.values()))
    return frames


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
    from pyarrow import parquet

    try:
        frame = parquet.read_table(file).to_pandas()
        ids = frame[_RUN].to_numpy()
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError) as error:
        log.debug("%s: %s", file, error)
        return {}
    starts = [0, *(np.flatnonzero(ids[1:] != ids[:-1]) + 1).tolist()]  # a run's rows stand together
    return {ids[start]: frame[start:end] for start, end in zip(starts, [*starts[1:], len(ids)], strict=True)}


def _write(file: Path, frames: Sequence[DataFrame]) -> None:
    import pandas as pd

    if not frames:
        file.unlink(missing_ok=True)
        return
    written = io.BytesIO()
    pd.concat(frames, ignore_index=True).to_parquet(written, index=False)
    file.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(file, written.getvalue(), durable=False)
