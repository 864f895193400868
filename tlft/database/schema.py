"""Look at an SQLite tracking database before MLflow does: is it one, and of a version that this MLflow can read?

MLflow itself is not imported: its migrations are read as files, so that a mistake is said at once.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from importlib import metadata, util
from pathlib import Path
from urllib.parse import quote, unquote

from tlft.config.addresses import find_address_problems


def find_problems(uri: str) -> list[str]:
    """Return what makes a tracking store unusable, in one line with its mend; a missing database is none."""
    scheme = uri.partition(":")[0]
    if scheme == "sqlite":
        path = database_path(uri)
        if path is None:
            return [f"tracking.uri={uri}: names no file; give sqlite:////path/to/mlflow.db"]
        return _find_problems(path)
    if uri == "missing":
        return ["tracking=server: no address; give tracking.uri=http://HOST:PORT, or set MLFLOW_TRACKING_URI"]
    if scheme in ("http", "https"):
        return find_address_problems(uri)
    if scheme.startswith(("postgresql", "mysql", "mssql")):
        return []
    return [f"tracking.uri={uri}: give http://HOST:PORT of an MLflow server, or sqlite:////path/to/mlflow.db"]


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a database to read what is there.

    Not by `mode=ro`: who closes such a one last cannot take away the files of write-ahead logging beside it. One that
    may only be read is opened all the same.

    Raises:
        sqlite3.Error: if it cannot be opened.
    """
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=20)) as database:
        database.execute("pragma query_only = on")
        yield database


def tagged_runs(uri: str, tag: str) -> list[tuple[str, str]] | None:
    """Return id and text for each run of an SQLite database that has a tag, deleted ones too; None of another store."""
    if (path := database_path(uri)) is None:
        return None
    with reading(path) as database:
        return database.execute("select run_uuid, value from tags where key = ?", (tag,)).fetchall()


def database_path(uri: str) -> Path | None:
    """Return the file of an SQLite database; None for any other address."""
    path = uri.removeprefix("sqlite:///").partition("?")[0]  # what follows are options
    return Path(unquote(path)) if path not in ("", uri) else None


def database_uri(path: Path) -> str:
    """Return the address of an SQLite database; what SQLAlchemy would take for something else is quoted."""
    quoted = re.sub(r"[%?]", lambda match: quote(match[0]), str(path))
    return f"sqlite:///{quoted}"


def _find_problems(path: Path) -> list[str]:
    if not path.exists():
        return []
    if path.is_dir():
        return [f"{path}: is a folder where the tracking database should be; move it away, or set paths.home"]
    try:
        with reading(path) as database:
            tables = {name for (name,) in database.execute("select name from sqlite_master where type = 'table'")}
            if not tables:
                return []
            if "alembic_version" not in tables:
                return [f"{path}: is no MLflow database; move it away, or set paths.home or tracking.uri"]
            row = database.execute("select version_num from alembic_version").fetchone()
    except sqlite3.OperationalError as error:  # not of its content: a full disk, a read-only folder, a lock
        locked = "another process holds it: type the same command again when that has ended"
        mend = locked if "locked" in str(error) else "make room, or give write access to its folder"
        return [f"{path}: the tracking database cannot be opened ({error}); {mend}"]
    except sqlite3.DatabaseError as error:
        return [f"{path}: the tracking database cannot be read ({error}); restore a copy of it, or move it away"]
    revisions, head = _revisions()
    version = row[0] if row else ""
    if version == head:
        return []
    if version not in revisions:
        return [
            f"{path}: was written by a newer MLflow than {metadata.version('mlflow')} here (schema {version}); "
            "pip install -U mlflow, or set paths.home to another folder"
        ]
    return [
        f"{path}: was written by an older MLflow; take a copy of it, then run: mlflow db upgrade {database_uri(path)}"
    ]


@cache
def _revisions() -> tuple[frozenset[str], str]:
    """Return all schema revisions that the installed MLflow knows, and the last of them."""
    spec = util.find_spec("mlflow")
    assert spec is not None and spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "store" / "db_migrations" / "versions"
    texts = [path.read_text() for path in folder.glob("*.py")]
    revisions = {match[1] for text in texts if (match := re.search(r'^revision = "(\w+)"', text, re.MULTILINE))}
    followed = {match[1] for text in texts if (match := re.search(r'^down_revision = "(\w+)"', text, re.MULTILINE))}
    (head,) = revisions - followed
    return frozenset(revisions), head
