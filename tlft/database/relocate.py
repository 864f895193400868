"""Follow a home that was moved: MLflow stores the places of files absolutely, so its database is mended."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from tlft.commands import invocation
from tlft.database.places import is_there, local_folder, tracking_uri
from tlft.database.schema import find_problems
from tlft.errors import TlftError
from tlft.runtime.claims import Claim
from tlft.storage.home_id import forget_places, former_places

log = logging.getLogger(__name__)

_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def relocate(home: Path) -> int:
    """Mend every place in the home's database that names another folder's `mlruns`; returns how many it were.

    One is mended if that folder is where this home was before it was moved or copied; else if its files are here at the
    same relative path, or if that other `mlruns` is gone.

    Raises:
        TlftError: if somebody works here now, or the database cannot be written.
    """
    if not is_there(tracking_uri(None, home)):
        return 0
    database_file, locks = home / "mlflow.db", home / "cache" / "locks"
    if at_work := [file for file in locks.glob("*.claim") if Claim(locks, file.stem).owner() is not None]:
        raise TlftError(
            f"{database_file}: names files in another folder, and cannot be mended while {len(at_work)} runs are "
            f"being worked on; wait for them, then {invocation('clean')} --relocate"
        )
    try:
        former = former_places(home)
        with closing(sqlite3.connect(database_file, timeout=20)) as database, database:
            count = sum(_mend(database, table, column, home, former) for table, column in _PLACES)
        forget_places(home)  # what is filed in one of them from now on is another home's
        return count
    except sqlite3.Error as error:
        raise TlftError(
            f"{database_file}: cannot be mended ({error}); give write access, then {invocation('clean')} --relocate"
        ) from None


def follow_move(home: Path) -> None:
    """Mend the home's database if the home was moved or copied, before anybody looks for files or writes some.

    Raises:
        TlftError: if it was, and the database cannot be mended now.
    """
    database_file = home / "mlflow.db"
    if not database_file.exists() or find_problems(tracking_uri(None, home)):  # whoever opens the database says which
        return
    try:
        with closing(sqlite3.connect(f"{database_file.as_uri()}?mode=ro", uri=True, timeout=20)) as database:
            places = [place for (place,) in database.execute("select artifact_location from experiments") if place]
    except sqlite3.Error:  # as above
        return
    former = former_places(home)
    if any(_place_here(place, home, former) for place in places) and (count := relocate(home)):
        log.warning("%s was moved or copied here: mended %d places of files in its mlflow.db", home, count)


def _mend(database: sqlite3.Connection, table: str, column: str, home: Path, former: Sequence[Path]) -> int:
    rows = database.execute(f"select rowid, {column} from {table} where {column} is not null").fetchall()
    mended = [(here, row) for row, place in rows if (here := _place_here(place, home, former))]
    database.executemany(f"update {table} set {column} = ? where rowid = ?", mended)
    return len(mended)


def _place_here(place: str, home: Path, former: Sequence[Path]) -> str:
    """Return what a place that names another home's `mlruns` is in this home; an empty text for any other place."""
    folder = local_folder(place)
    if folder is None or not folder.is_absolute():
        return ""
    other_home, separator, name = str(folder).rpartition("/mlruns/")
    mlruns, old_mlruns = home / "mlruns", Path(other_home) / "mlruns"
    if (
        not separator
        or mlruns == old_mlruns
        or (old_mlruns.exists() and mlruns.exists() and old_mlruns.samefile(mlruns))
    ):
        return ""
    here = mlruns / name
    # An unfinished run has no files yet, so that those cannot tell.
    if Path(other_home).resolve() not in former and old_mlruns.exists() and not here.exists():
        return ""
    return here.as_uri() if place.startswith("file:") else str(here)
