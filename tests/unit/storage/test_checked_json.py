"""A file of JSON of which no byte can change unseen."""

from __future__ import annotations

from pathlib import Path

import pytest

from tlft.storage.checked_json import DamagedFileError, read_checked, write_checked

VALUE = {"shape": [3, 8], "dtype": "bfloat16", "reason": "", "rate": 0.1, "border": None, "name": "ä"}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_checked(tmp_path / "new" / "file.json", VALUE)
    assert read_checked(tmp_path / "new" / "file.json") == VALUE


def test_every_changed_byte_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_checked(path, VALUE)
    whole = path.read_bytes()
    for place in range(len(whole)):
        for change in (1, 32, 255):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ change]) + whole[place + 1 :])
            with pytest.raises(DamagedFileError):
                read_checked(path)


@pytest.mark.parametrize(
    "content", [b"", b"[" * 100_000, b"[]", b'{"value": 1}', b"\xff", b'{"value": 1, "sha256": ""}']
)
def test_so_is_any_other_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file.json").write_bytes(content)
    with pytest.raises(DamagedFileError):
        read_checked(tmp_path / "file.json")


def test_a_file_that_is_not_there_is_no_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_checked(tmp_path / "file.json")
