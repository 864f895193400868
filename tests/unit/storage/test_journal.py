from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tlft.errors import TlftError
from tlft.storage.journal import Journal


def delivered(journal: Journal) -> list[object]:
    return [dict(entry) for entries in journal.undelivered() for entry in entries]


def test_entries_come_back_in_order_in_another_process(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run")
    journal.append(tags={"who": "Zoë"})
    journal.append_metrics({"loss": 0.1}, 1, 5)
    again = Journal(tmp_path / "run")
    assert again.entries == [{"tags": {"who": "Zoë"}}, {"metrics": {"loss": 0.1}, "step": 1, "time": 5}]
    assert again.waiting == 2


def test_what_was_delivered_is_not_delivered_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(tags={"a": "1"})
    assert delivered(journal) == [{"tags": {"a": "1"}}]
    journal.append(tags={"b": "2"})
    again = Journal(tmp_path)
    assert delivered(again) == [{"tags": {"b": "2"}}]
    assert again.waiting == 0


def test_an_entry_that_could_not_be_delivered_is_the_next_one(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(tags={"a": "1"})
    for _ in journal.undelivered():
        break
    assert delivered(journal) == [{"tags": {"a": "1"}}]


def test_a_figure_of_a_step_is_taken_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append_metrics({"loss": 0.1}, 1, 5)
    again = Journal(tmp_path)
    again.append_metrics({"loss": 0.1, "accuracy": 0.5}, 1, 9)
    again.append_metrics({"loss": 0.1}, 1, 9)
    again.append_metrics({"loss": 0.1}, 2, 9)
    assert [(entry["metrics"], entry["step"]) for entry in again.entries] == [
        ({"loss": 0.1}, 1),
        ({"accuracy": 0.5}, 1),
        ({"loss": 0.1}, 2),
    ]


def test_a_line_torn_at_any_byte_is_cut_off(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(tags={"a": "1"})
    whole = (tmp_path / "journal.jsonl").read_bytes()
    journal.append(tags={"b": "ü"})
    both = (tmp_path / "journal.jsonl").read_bytes()
    for cut in range(len(whole), len(both)):
        (tmp_path / "journal.jsonl").write_bytes(both[:cut])
        again = Journal(tmp_path)
        assert again.entries == [{"tags": {"a": "1"}}]
        again.append(tags={"c": "3"})
        assert len(Journal(tmp_path).entries) == 2


def test_a_mark_beyond_the_end_is_the_end(tmp_path: Path) -> None:
    Journal(tmp_path).append(tags={"a": "1"})
    for text in ("7", "", "x"):
        (tmp_path / "delivered").write_text(text)
        journal = Journal(tmp_path)
        journal.append(tags={"b": "2"})
        assert {"tags": {"b": "2"}} in delivered(journal)


def test_on_a_full_disk_entries_wait_and_are_written_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    journal = Journal(tmp_path)
    journal.append(tags={"a": "1"})
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        journal.append(tags={"b": "2"})
    assert len(Journal(tmp_path).entries) == 1
    journal.append(tags={"c": "3"})
    assert [entry["tags"] for entry in Journal(tmp_path).entries] == [{"a": "1"}, {"b": "2"}, {"c": "3"}]


@pytest.mark.parametrize("damage", [b"garbage", b"[1]"])
def test_a_damaged_line_is_named_with_what_to_do(tmp_path: Path, damage: bytes) -> None:
    journal = Journal(tmp_path)
    for number in range(3):
        journal.append(tags={"a": str(number)})
    path = tmp_path / "journal.jsonl"
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([lines[0], damage, lines[2], b""]))
    with pytest.raises(TlftError, match=f"line 2 is damaged.*delete {tmp_path} to begin the run anew"):
        Journal(tmp_path)


def test_figures_of_several_steps_are_delivered_together_and_nothing_else_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path)
    journal.append(tags={"a": "1"})
    for step in range(1, 6):
        journal.append_metrics({"loss": 0.1, "accuracy": 0.5}, step, 5)
    journal.append(tags={"b": "2"})
    journal.append_metrics({"loss": 0.1}, 6, 5)
    monkeypatch.setattr("tlft.storage.journal.MOST_FIGURES", 4)
    assert [[entry.get("step") for entry in entries] for entries in journal.undelivered()] == [
        *([None], [1, 2], [3, 4], [5], [None], [6])
    ]
    assert Journal(tmp_path).waiting == 0
