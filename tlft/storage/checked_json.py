"""JSON files that tell whether they are whole: with the value the SHA-256 of its text, so that no byte can change."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from tlft.storage.files import atomic_write


class DamagedFileError(Exception):
    """A file is not as it was written."""


def write_checked(path: Path, value: Any) -> None:
    """Write plain JSON types, in a folder that is made if need be.

    Raises:
        TlftError: if the file cannot be written.
    """
    atomic_write(path, _text_of(value).encode())


def read_checked(path: Path) -> Any:
    """Return what `write_checked` was given.

    Raises:
        OSError: if the file cannot be read.
        DamagedFileError: if a byte of it is not what was written.
    """
    data = path.read_bytes()
    try:
        value = json.loads(data)["value"]
        is_whole = _text_of(value).encode() == data
    except (ValueError, KeyError, TypeError, RecursionError):  # whatever else may be there, such as deeply nested lists
        is_whole = False
    if not is_whole:
        raise DamagedFileError(str(path))
    return value


def _text_of(value: Any) -> str:
    digest = hashlib.sha256(json.dumps(value).encode()).hexdigest()
    return json.dumps({"value": value, "sha256": digest}, indent=1)
