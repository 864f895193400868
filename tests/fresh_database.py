"""New homes get a copy of one empty tracking database: MLflow takes two seconds to make one.

Importing this makes it so. Commands that tests start in new interpreters make theirs as a user's would.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from filelock import FileLock

from tlft.tracking import store
from tlft.tracking.client import create_database

VARIABLE = "TLFT_TEST_DATABASE"
"""Names the folder of the database that is copied; the same for all processes of a test session."""


def copy_database(path: Path, artifacts: Path) -> None:
    """Do what `create_database` does, in a moment."""
    folder = Path(os.environ[VARIABLE])
    with FileLock(folder / "lock"):
        if not (folder / "mlflow.db").exists():
            create_database(folder / "mlflow.db", folder / "mlruns")
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f"{path.name}.*.tmp*"):  # of a process that was killed, as `create_database` does
        left.unlink()
    beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    shutil.copyfile(folder / "mlflow.db", beside)
    with closing(sqlite3.connect(beside)) as database:
        database.execute("update experiments set artifact_location = ?", (f"{artifacts.as_uri()}/0",))
        database.commit()
    beside.replace(path)


store.create_database = copy_database  # type: ignore[attr-defined]
