"""Where a tracking store is, whether it is there, and which folder of this machine an address names."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

from tlft.config.paths import home_folder
from tlft.database.schema import database_path, database_uri, find_problems
from tlft.errors import ConfigurationError


def tracking_uri(uri: str | None = None, home: Path | None = None) -> str:
    """Return the store's address: the one given, or the SQLite database in `paths.home`."""
    return uri or database_uri((home or home_folder()) / "mlflow.db")


def is_there(uri: str) -> bool:
    """Tell whether a store can be asked without being created: it is a server, or a database that exists.

    Raises:
        ConfigurationError: if the address is none, or the database is none or of another version.
    """
    if problems := find_problems(uri):
        raise ConfigurationError(problems)
    database = database_path(uri)
    return database is None or database.exists()


def local_folder(artifact_uri: str) -> Path | None:
    """Return the folder that an address of artifacts names, or None if it is not on this machine."""
    parsed = urlparse(artifact_uri)
    return Path(url2pathname(parsed.path)) if parsed.scheme in ("", "file") else None
