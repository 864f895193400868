"""Deliver what the tracking store has not got yet of any run of a home, and look whether it kept what it got."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tlft.database.places import tracking_uri
from tlft.errors import TlftError, one_line
from tlft.names import Tag
from tlft.records.record import Record
from tlft.storage.home_id import home_ids
from tlft.storage.journal import Journal
from tlft.tracking.active_run import ActiveRun
from tlft.tracking.client import connect
from tlft.tracking.integrity import find_damage_by_digest
from tlft.tracking.reader import load_records
from tlft.tracking.run_folder import RunFolder, idle_folders
from tlft.tracking.server import answering


@dataclass(frozen=True)
class Delivery:
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


def deliver_journals(home: Path) -> Iterator[Delivery]:
    """Deliver the journals of all runs that nobody works on now."""
    for folder in idle_folders(home):
        if (delivery := _deliver(folder, home)) is not None:
            yield delivery


def _deliver(folder: RunFolder, home: Path) -> Delivery | None:
    if (address := folder.address) is None:
        return None
    run_id = address.run_id
    try:
        journal = Journal(folder.path)
    except TlftError as error:
        return Delivery(run_id, 0, 1, str(error))
    before = journal.waiting
    if not before:
        if journal.has("end"):  # its process went before it could tidy up
            folder.remove()
        return None
    try:
        client, stored = address.look_up(home)
        if stored is None:
            return Delivery(run_id, 0, before, f"it is no longer there; delete {folder.path} if it is not missed")
        if address.uri and stored.data.tags.get(Tag.HOME, own := home_ids(home)[0]) != own:
            return None  # of the home that this one was copied from, which delivers it itself
        run = ActiveRun(client, stored, folder)
    except Exception as error:  # a server that is away, a run that was deleted for good
        return Delivery(run_id, 0, before, one_line(error, 200))
    try:
        done = run.finish() if run.journal.has("end") else run.deliver(at_once=True)
    except TlftError as error:  # a run that was deleted, or what it is not complete without is refused
        return Delivery(run_id, before - run.journal.waiting, run.journal.waiting, str(error))
    waiting = 0 if done else run.journal.waiting
    return Delivery(run_id, before - waiting, waiting, "" if done else run.refusal)


def verify(experiment: str, uri: str | None, home: Path) -> Iterator[tuple[Record, str]]:
    """Hash the files of every finished run; yields it with what is wrong, or an empty text.

    A run whose files are wrong is marked, and counts as finished no more until they are right again.

    Raises:
        TlftError: if the store does not answer, or not with the files.
    """
    for record in load_records(experiment, uri, home):
        if record.status != "FINISHED" or record.deleted or not record.files:
            continue
        address = tracking_uri(uri, home)
        client = connect(address)
        with answering(address):
            damage = find_damage_by_digest(client, client.get_run(record.run_id))
            if damage:
                client.set_tag(record.run_id, Tag.DAMAGED, damage)
            elif Tag.DAMAGED in record.tags:  # somebody has put the files back
                client.delete_tag(record.run_id, Tag.DAMAGED)
        yield record, damage
