"""Write files so that neither a reader nor a crash ever sees half of one, and digest them.

What a file holds is the caller's business.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tlft.errors import TlftError


def sha256_of(path: Path) -> str:
    """Return the 64 hex digits of the file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def relative_name(path: Path, root: Path) -> str:
    """Return what a file is called below a folder; its whole name if it lies elsewhere."""
    return str(path).removeprefix(str(root)).lstrip("/\\")


def atomic_write(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write the file, in a folder that is made if need be, so that no reader ever sees half of it.

    Args:
        path: the file.
        data: all of it.
        durable: whether it must survive a power cut, which takes some milliseconds.

    Raises:
        TlftError: if it cannot be written.
    """
    beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    with one_line_for_the_disk(path.parent, "make room, or choose another folder"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            beside.write_bytes(data)
            if durable:
                into_place(beside, path)
            else:
                beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)


def into_place(written: Path, target: Path) -> None:
    """Rename, once the bytes are on the disk: after a power cut the new name must not stand for a hole."""
    with written.open("rb+") as file:
        os.fsync(file.fileno())
    written.replace(target)
    if os.name == "posix":  # the new name itself; elsewhere a folder cannot be opened
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def one_line_for_the_disk(folder: Path, mend: str) -> Iterator[None]:
    """Turn an error of the file system, such as a full disk, into one line."""
    try:
        yield
    except OSError as error:
        where = error.filename or folder
        raise TlftError(f"{where}: {error.strerror or error}; {mend}") from None
