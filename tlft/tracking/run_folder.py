"""What is kept on disk of an unfinished run: which run it is, its journal, its checkpoints, its files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tlft.database.places import tracking_uri
from tlft.names import Artifact
from tlft.runtime.claims import Claim
from tlft.storage.files import atomic_write
from tlft.storage.journal import Entry
from tlft.tracking.client import connect, find_run

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


class RunAddress(NamedTuple):
    """Which run it is, and where it is tracked.

    Attributes:
        uri: of the store; empty for the home's own, so that a home may be moved.
    """

    run_id: str
    uri: str

    def look_up(self, home: Path) -> tuple[MlflowClient, Run | None]:
        """Return the client of its store, and the run, which may be deleted; None if the store does not have it."""
        client = connect(tracking_uri(self.uri or None, home))
        return client, find_run(client, self.run_id)


class RunFolder:
    """The folder of an unfinished run.

    Attributes:
        checkpoints: where checkpoints are kept.
        files: where the run's files wait until MLflow has them.
        refused: a line of JSON for each entry that the store does not take.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.refused = path / Artifact.REFUSED
        self.checkpoints, self.files = path / "checkpoint", path / "files"

    @property
    def address(self) -> RunAddress | None:
        """What `remember` was given; None if there is no such run."""
        try:
            stored = json.loads((self.path / "run.json").read_text())
            address = RunAddress(stored["run_id"], stored["uri"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return address if all(isinstance(part, str) for part in address) else None

    def remember(self, run_id: str, uri: str) -> None:
        """Write which run this is, and where it is tracked."""
        atomic_write(self.path / "run.json", json.dumps(RunAddress(run_id, uri)._asdict()).encode())

    def put_aside(self, entry: Entry, reason: str) -> tuple[list[Entry], bool]:
        """Keep an entry that the store refuses, once; returns all such, and whether this is a new one."""
        lines = self.refused.read_text(encoding="utf-8").splitlines() if self.refused.exists() else []
        refused = [json.loads(line)["entry"] for line in lines]
        if is_new := entry not in refused:
            refused.append(entry)
            lines.append(json.dumps({"entry": entry, "reason": reason}, ensure_ascii=False))
            atomic_write(self.refused, "".join(f"{line}\n" for line in lines).encode())
        return refused, is_new

    def remove(self) -> None:
        """Delete everything; `run.json` last, so that what a crash leaves is still known for what it is."""
        for child in sorted(self.path.glob("*"), key=lambda child: child.name == "run.json"):
            shutil.rmtree(child) if child.is_dir() else child.unlink()
        if self.path.exists():
            self.path.rmdir()


def idle_folders(home: Path) -> Iterator[RunFolder]:
    """Yield the folders of unfinished runs that nobody works on; nobody can begin with one while it is yielded."""
    for path in sorted((home / "checkpoints").glob("*")):
        claim = Claim(home / "cache" / "locks", path.name)
        if not claim.acquire():
            continue
        try:
            if path.exists():
                yield RunFolder(path)
        finally:
            claim.release()
