"""Look whether the files that a finished run must have are still there, by their sizes or their digests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tlft.commands import invocation
from tlft.database.places import local_folder
from tlft.names import Tag
from tlft.records.record import files_of
from tlft.storage.files import sha256_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


def find_damage(artifacts: str, tags: Mapping[str, str]) -> str:
    """Say what is wrong with a run's files, as far as names and sizes on this machine tell; nothing if all is well."""
    folder = local_folder(artifacts)
    for name, (size, _) in files_of(tags).items():
        if folder is not None and (damage := _compare(folder / name, name, size)):
            return damage
    if damage := tags.get(Tag.DAMAGED, ""):
        return f"{damage} (if it was put back: {invocation('sync')} --verify)"
    return ""


def find_damage_by_digest(client: MlflowClient, run: Run) -> str:
    """Say what is wrong with a run's files by their bytes; those that a server keeps are fetched."""
    folder = local_folder(run.info.artifact_uri)
    for name, (size, sha256) in files_of(run.data.tags).items():
        parent = name.rpartition("/")[0]
        with TemporaryDirectory() as fetched:
            if folder is not None:
                path = folder / name
            elif any(file.path == name for file in client.list_artifacts(run.info.run_id, parent or None)):
                path = Path(client.download_artifacts(run.info.run_id, name, fetched))
            else:
                return f"its {name} is missing"
            if damage := _compare(path, name, size, sha256):
                return damage
    return ""


def _compare(path: Path, name: str, size: int, sha256: str = "") -> str:
    if not path.is_file():
        return f"its {name} is missing"
    if path.stat().st_size != size or (sha256 and sha256_of(path) != sha256):
        return f"its {name} is damaged"
    return ""
