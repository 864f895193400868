"""Databases that tests find in the way."""

from __future__ import annotations

import sqlite3
from pathlib import Path


def newer_database(path: Path) -> None:
    """Write what looks like a tracking database of an MLflow that is not out yet."""
    with sqlite3.connect(path) as database:
        database.execute("create table alembic_version (version_num varchar(32))")
        database.execute("insert into alembic_version values ('ffffffffffff')")
