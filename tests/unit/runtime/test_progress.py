"""How far a process has come, as other processes read it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tlft.runtime import progress as progress_module
from tlft.runtime.progress import progress


def test_a_process_leaves_word_of_how_far_it_has_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "_progress_file", tmp_path / "progress.json")
    with progress("training", 10, "images", done=2) as advance:
        advance(3, note="epoch 1/2, loss 0.5")
        told = json.loads((tmp_path / "progress.json").read_text())
        assert told.pop("rate") > 0
        assert told == {
            "description": "training",
            "total": 10,
            "unit": "images",
            "done": 5,
            "note": "epoch 1/2, loss 0.5",
        }
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_gone_stops_no_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "_progress_file", tmp_path / "gone" / "progress.json")
    with progress("training", 10, "images") as advance:
        advance(3)
    assert list(tmp_path.iterdir()) == []
