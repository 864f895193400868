"""Know a `paths.home` by a name of its own: for good, also when it is moved; a copy of it is another home."""

from __future__ import annotations

import json
import platform
import uuid
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from tlft.storage.files import atomic_write
from tlft.storage.locks import locked


def home_ids(home: Path) -> tuple[str, list[str]]:
    """Return the id of a home, and the ids of those that it was copied from.

    A home remembers where it is. If it is elsewhere now and there still is a home of its id at that place, it is a
    copy, and gets an id of its own: on a server two homes of one id would take each other's runs for their own. So is
    one at the same place of another machine, in another folder: a folder that machines share has one number for all.
    """
    identity = _settle(home)
    return identity["id"], list(identity.get("former", []))


def former_places(home: Path) -> list[Path]:
    """Return where a home has been, or what it was copied from, until `forget_places`."""
    return [Path(place) for place in _settle(home).get("places", [])]


def forget_places(home: Path) -> None:
    """Take note that nothing in a home names its former places any more."""
    with _lock(home):
        identity = _read(home)
        if identity.pop("places", None):
            _write(home, identity)


def _settle(home: Path) -> dict[str, Any]:
    """Return what a home knows of itself, once it has noticed whether it was moved or copied."""
    identity, here = _read(home), home.resolve()
    if identity.get("place") == str(here) and _number(home) in identity.get("numbers", {}).values():
        return identity
    with _lock(home):
        identity = _read(home)
        place = Path(identity.get("place", here))
        if place != here:
            identity["places"] = [*identity.get("places", []), str(place)]
        numbers = identity.get("numbers", {})  # machine -> of the folder
        is_new_here = bool(numbers) and _machine() not in numbers and _number(home) not in numbers.values()
        is_copy = is_new_here if place == here else _is_there_too(identity, place, here)
        if is_copy:
            identity["former"] = [*identity.get("former", []), identity["id"]]
        if is_copy or "id" not in identity:
            identity["id"] = uuid.uuid4().hex
        if is_copy or place != here:
            numbers = {}
        _write(home, identity | {"place": str(here), "numbers": {**numbers, _machine(): _number(home)}})
        return identity


def _is_there_too(identity: Mapping[str, Any], place: Path, here: Path) -> bool:
    return _read(place).get("id") == identity.get("id") and not place.samefile(here)


def _machine() -> str:
    with suppress(OSError):
        return f"{platform.node()} {Path('/etc/machine-id').read_text().strip()}"
    return platform.node()


def _number(home: Path) -> int:
    """Return what the file system calls the folder; it may be another after a reboot, on some."""
    return _file(home).parent.stat().st_ino


def _lock(home: Path) -> AbstractContextManager[None]:
    _file(home).parent.mkdir(parents=True, exist_ok=True)
    return locked(_file(home).with_name("home-id.lock"))


def _write(home: Path, identity: Mapping[str, Any]) -> None:
    atomic_write(_file(home), json.dumps(identity).encode())


def _file(home: Path) -> Path:
    return home / "cache" / "home-id"


def _read(home: Path) -> dict[str, Any]:
    try:
        text = _file(home).read_text()
    except OSError:
        return {}
    identity: dict[str, Any] = json.loads(text) if text.startswith("{") else {"id": text}  # of an earlier version
    return identity
