"""Deliver what the tracking store has not got yet of any run of a home, and look whether it kept what it got."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tlft.errors import TlftError
from tlft.runtime.claims import Claim
from tlft.tracking.active_run import DAMAGED_TAG, FILES_TAG, ActiveRun, RunFolder
from tlft.tracking.client import connect, tracking_uri
from tlft.tracking.integrity import find_damage_by_digest
from tlft.tracking.journal import Journal
from tlft.tracking.reader import find_run, load_records
from tlft.tracking.records import Record
from tlft.tracking.server import answering


@dataclass(frozen=True)
class Rest:
    """What became of a run whose journal was not empty.

    Attributes:
        delivered: how many entries the store has taken now.
        waiting: how many it has not.
        error: why not, in a line; empty if it has all.
    """

    run_id: str
    delivered: int
    waiting: int
    error: str = ""


def deliver_rest(home: Path) -> Iterator[Rest]:
    """Deliver the journals of all runs that nobody works on now; yields a line's worth for each."""
    for path in sorted((home / "checkpoints").glob("*")):
        claim = Claim(home / "cache" / "locks", path.name)
        if not claim.acquire():
            continue
        try:
            if (rest := _deliver(RunFolder(path), home)) is not None:
                yield rest
        finally:
            claim.release()


def _deliver(folder: RunFolder, home: Path) -> Rest | None:
    told = folder.read()
    if not told:
        return None
    try:
        journal = Journal(folder.path)
    except TlftError as error:
        return Rest(told["run_id"], 0, 1, str(error))
    before = journal.waiting
    if not before:
        if journal.has("end"):  # its process went before it could tidy up
            folder.remove()
        return None
    try:
        client = connect(tracking_uri(told["uri"] or None, home))
        found = find_run(client, told["run_id"])
        if found is None:
            return Rest(told["run_id"], 0, before, f"it is no longer there; delete {folder.path} if it is not missed")
        run = ActiveRun(client, found, folder)
    except Exception as error:  # a server that is away, a run that was deleted for good
        return Rest(told["run_id"], 0, before, " ".join(str(error).split())[:200])
    done = run.finish() if run.journal.has("end") else run.deliver(at_once=True)
    waiting = 0 if done else run.journal.waiting
    return Rest(told["run_id"], before - waiting, waiting, "" if done else run.refusal)


def verify(experiment: str, uri: str | None, home: Path) -> Iterator[tuple[Record, str]]:
    """Hash the files of every finished run; yields it with what is wrong, or an empty text.

    A run whose files are wrong is marked, and counts as finished no more until they are right again.

    Raises:
        TlftError: if the store does not answer, or not with the files.
    """
    for record in load_records(experiment, uri, home):
        if record.status != "FINISHED" or record.deleted or FILES_TAG not in record.tags:
            continue
        address = tracking_uri(uri, home)
        client = connect(address)
        with answering(address):
            wrong = find_damage_by_digest(client, client.get_run(record.run_id))
            if wrong:
                client.set_tag(record.run_id, DAMAGED_TAG, wrong)
            elif DAMAGED_TAG in record.tags:  # somebody has put the files back
                client.delete_tag(record.run_id, DAMAGED_TAG)
        yield record, wrong
