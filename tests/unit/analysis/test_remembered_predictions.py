"""What the note needs of predictions: read once, and anew where they have changed."""

from __future__ import annotations

import hashlib
import io
import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fabricated import FINE_TUNE, FROM_SCRATCH, ZERO_SHOT, predict, run

from analysis.comparison_table import add_evidence, build_table
from analysis.predictions import remembered
from analysis.predictions.remembered import recall_predictions
from analysis.render import render
from tlft.names import Artifact, Tag
from tlft.records.record import Record
from tlft.tracking.reader import ArtifactReader


class CountingReader(ArtifactReader):
    """Says which runs' files were opened."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []

    def file(self, record: Record, name: str) -> Any:
        self.opened.append(record.run_id)
        return super().file(record, name)


def keep(record: Record, folder: Path, right: int) -> Record:
    """Give a record a file of predictions."""
    kept = folder / record.run_id
    kept.mkdir()
    predict(right, closed=right + 4).to_parquet(kept / Artifact.PREDICTIONS)
    digest = json.dumps({Artifact.PREDICTIONS: [1, f"{right:064x}"]})
    return replace(record, artifacts=kept.as_uri(), tags={**record.tags, Tag.FILES: digest})


@pytest.fixture
def records(tmp_path: Path) -> list[Record]:
    columns = (ZERO_SHOT, FINE_TUNE, FINE_TUNE, FINE_TUNE, FROM_SCRATCH)
    made = [run(column, 0.9, seed=str(seed)) for seed, column in enumerate(columns)]
    return [keep(record, tmp_path, 120 + 2 * index) for index, record in enumerate(made)]


def opened(file: Path, records: list[Record]) -> list[str]:
    reader = CountingReader()
    recalled = recall_predictions(file, records, reader)
    table = build_table(records)
    read = ArtifactReader().predictions(table.runs)
    from_memory, anew = (render(add_evidence(table, frames), "markdown") for frames in (recalled, read))
    assert from_memory == anew
    return reader.opened


def test_each_run_is_read_once_however_often_the_note_is_written(tmp_path: Path, records: list[Record]) -> None:
    file, ids = tmp_path / "memory" / "1.parquet", [record.run_id for record in records]
    assert opened(file, records[:3]) == ids[:3]
    assert opened(file, records) == ids[3:]
    assert opened(file, records) == []
    assert opened(file, records[2:]) == []  # the first two were deleted
    assert opened(file, records) == ids[:2]


def test_a_file_that_has_changed_is_read_again(tmp_path: Path, records: list[Record]) -> None:
    file = tmp_path / "1.parquet"
    opened(file, records)
    path = tmp_path / records[1].run_id / Artifact.PREDICTIONS
    path.write_bytes((tmp_path / records[4].run_id / Artifact.PREDICTIONS).read_bytes())
    assert opened(file, records) == [records[1].run_id]
    path.unlink()
    recalled = recall_predictions(file, records, CountingReader())
    assert set(recalled) == {record.run_id for record in records} - {records[1].run_id}


@pytest.mark.parametrize("damage", [b"", b"PAR1 and no more", b"x" * 5000])
def test_a_damaged_memory_is_made_anew(tmp_path: Path, records: list[Record], damage: bytes) -> None:
    file = tmp_path / "1.parquet"
    opened(file, records)
    file.write_bytes(damage)
    assert len(opened(file, records)) == len(records)
    assert opened(file, records) == []


def test_a_memory_of_which_any_byte_has_changed_is_made_anew(tmp_path: Path, records: list[Record]) -> None:
    file = tmp_path / "1.parquet"
    opened(file, records)
    whole, drawn = file.read_bytes(), random.Random(0)
    header = (0, 26, 27, 58)  # the words, the digest
    for place in (*header, 59, len(whole) - 1, *(drawn.randrange(len(whole)) for _ in range(12))):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << drawn.randrange(8)
        file.write_bytes(damaged)
        assert len(opened(file, records)) == len(records), place
        assert file.read_bytes() == whole, place
    file.write_bytes(whole[: len(whole) // 2])
    assert len(opened(file, records)) == len(records)


def kept_as(frame: pd.DataFrame, header: bytes | None = None) -> bytes:
    """Return a memory of some rows, whole, as this version or one with another header writes it."""
    written = io.BytesIO()
    frame.to_parquet(written, index=False)
    body = written.getvalue()
    return (remembered._HEADER if header is None else header) + hashlib.sha256(body).digest() + body


@pytest.mark.parametrize(
    "change",
    [
        lambda frame: kept_as(frame, b"tlft predictions, format 0\n"),
        lambda frame: kept_as(frame, b"")[32:],  # Parquet alone, as it once was
        lambda frame: kept_as(frame[:0]),
        *(lambda frame, name=name: kept_as(frame.drop(columns=name)) for name in ("state", "run_id", "confidence")),
        lambda frame: kept_as(frame.assign(more=1)),
    ],
    ids=["another format", "no header", "no rows", "no state", "no run_id", "no confidence", "another column"],
)
def test_a_memory_of_another_version_is_made_anew(
    tmp_path: Path, records: list[Record], change: Callable[[pd.DataFrame], bytes]
) -> None:
    file = tmp_path / "1.parquet"
    opened(file, records)
    whole = file.read_bytes()
    frame = pd.read_parquet(io.BytesIO(whole[len(remembered._HEADER) + 32 :]))
    assert kept_as(frame) == whole
    file.write_bytes(change(frame))
    assert len(opened(file, records)) == len(records)
    assert file.read_bytes() == whole


def test_a_server_s_run_is_known_by_its_digest(
    tmp_path: Path, records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "1.parquet"
    fetched = []

    class Client:
        def download_artifacts(self, run_id: str, name: str, to: str) -> str:
            fetched.append(run_id)
            return str(tmp_path / run_id / name)

    monkeypatch.setattr(ArtifactReader, "_client", Client())
    there = [replace(record, artifacts=f"mlflow-artifacts:/1/{record.run_id}") for record in records]
    for _ in range(3):
        assert len(recall_predictions(file, there, ArtifactReader())) == len(records)
    assert fetched == [record.run_id for record in records]
    there[0] = replace(there[0], tags={Tag.FILES: json.dumps({Artifact.PREDICTIONS: [1, "other"]})})
    there[1] = replace(there[1], tags={})  # of an earlier version
    recall_predictions(file, there, ArtifactReader())
    recall_predictions(file, there, ArtifactReader())
    assert fetched[len(records) :] == [records[0].run_id, records[1].run_id, records[1].run_id]


@pytest.mark.parametrize("grouped", [0, 3])
def test_a_run_with_groups_beside_runs_without(tmp_path: Path, records: list[Record], grouped: int) -> None:
    """In one file the others have the column too, and nothing in it."""
    path = tmp_path / records[grouped].run_id / Artifact.PREDICTIONS
    frame = predict(120, closed=124)
    frame.assign(group=[f"burst{index // 3}" for index in range(len(frame))]).to_parquet(path)
    opened(tmp_path / "memory" / "1.parquet", records)
    table = build_table(records)
    for _ in range(2):
        recalled = recall_predictions(tmp_path / "memory" / "1.parquet", records, CountingReader())
        assert "153 evaluation images in 51 groups" in render(add_evidence(table, recalled), "markdown")
