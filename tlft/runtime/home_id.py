"""Know a `paths.home` by a name of its own: for good, also when it is moved; a copy of it is another home."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

from tlft.runtime.files import atomic_write


def home_ids(home: Path) -> tuple[str, list[str]]:
    """Return the id of a home, and the ids of those that it was copied from; a lock must be held.

    A home remembers where it is. If it is elsewhere now and there still is a home of its id at that place, it is a
    copy, and gets an id of its own: on a server two homes of one id would take each other's runs for their own.
    """
    identity = _read(home)
    here = str(home.resolve())
    if identity.get("place") != here:
        place = Path(identity.get("place", here))
        is_copy = place != Path(here) and _read(place).get("id") == identity["id"]
        if is_copy:
            identity["former"] = [*identity.get("former", []), identity["id"]]
        if is_copy or "id" not in identity:
            identity["id"] = uuid.uuid4().hex
        identity["place"] = here
        atomic_write(_file(home), json.dumps(identity).encode())
    return identity["id"], list(identity.get("former", []))


def _file(home: Path) -> Path:
    return home / "cache" / "home-id"


def _read(home: Path) -> dict[str, Any]:
    try:
        text = _file(home).read_text()
    except OSError:
        return {}
    identity: dict[str, Any] = json.loads(text) if text.startswith("{") else {"id": text}  # of an earlier version
    return identity
