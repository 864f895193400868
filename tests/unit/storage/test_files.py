"""Files that are whole or not there, also when the process that writes them is killed."""

from __future__ import annotations

import errno
import os
import re
import signal
from pathlib import Path
from typing import IO

import pytest
from conftest import files_in

from tlft.errors import TlftError
from tlft.storage.files import atomic_write, display_name, name_problem, path_of, relative_name, sha256_of


def test_digest_is_that_of_the_standard(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_of(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_atomic_write_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "new" / "memory.json"
    atomic_write(path, b"old")
    atomic_write(path, b"new")
    assert path.read_bytes() == b"new"
    assert files_in(path.parent) == ["memory.json"]


def test_atomic_write_that_fails_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "memory.json"
    atomic_write(path, b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TlftError, match=f"^{re.escape(str(tmp_path))}: {os.strerror(errno.ENOSPC)}"):
        atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
    assert files_in(tmp_path) == ["memory.json"]


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="the system knows no files without names")
def test_a_process_that_is_killed_while_it_writes_leaves_nothing(tmp_path: Path) -> None:
    process = os.fork()
    if process == 0:
        real, os.fdopen = os.fdopen, lambda *args: KilledFile(real(*args))  # type: ignore[assignment, arg-type]
        atomic_write(tmp_path / "memory.json", b"half")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
    assert files_in(tmp_path) == []


class KilledFile:
    """A file whose process is killed in the middle of a write."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file

    def __enter__(self) -> KilledFile:
        return self

    def __exit__(self, *_: object) -> None:
        raise AssertionError("the process outlived the write")

    def write(self, data: bytes) -> None:
        self.file.write(data[:1])
        self.file.flush()
        os.kill(os.getpid(), signal.SIGKILL)


def test_where_no_file_is_without_a_name_writing_works_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    atomic_write(tmp_path / "memory.json", b"all")
    assert (tmp_path / "memory.json").read_bytes() == b"all"
    assert files_in(tmp_path) == ["memory.json"]


@pytest.mark.parametrize(
    "name", [b"caf\xe9.jpg", "café.jpg".encode(), b"plain.jpg", rb"back\xe9slash.jpg", b"\xff\xfe"]
)
def test_a_name_of_any_bytes_is_text_that_leads_back_to_the_file(tmp_path: Path, name: bytes) -> None:
    path = tmp_path / os.fsdecode(name)
    path.write_bytes(name)
    text = relative_name(path, tmp_path)
    assert text.encode().decode() == text
    assert path_of(text, tmp_path).read_bytes() == name


def test_names_that_are_text_are_shown_as_they_are() -> None:
    for name in ("/data/café/猫 🐝.jpg", "new\nline", r"\x"):
        assert display_name(name) == name
    assert display_name(Path(os.fsdecode(b"caf\xe9"))) == r"caf\xe9"


def test_a_typed_name_that_cannot_be_written_down_is_explained() -> None:
    assert name_problem("/data/café") == ""
    assert name_problem(os.fsdecode(b"/data/caf\xe9")).startswith("is no UTF-8; rename it, or make a link")


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
def test_where_there_are_no_hard_links_writing_works_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    for data in (b"old", b"new"):
        atomic_write(tmp_path / "memory.json", data)
        assert (tmp_path / "memory.json").read_bytes() == data
    assert files_in(tmp_path) == ["memory.json"]
