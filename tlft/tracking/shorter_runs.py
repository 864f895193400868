"""The finished runs that differ from another in their length alone, so that it may begin where one of them ended."""

from __future__ import annotations

from tlft.config.schema import Config
from tlft.database.runs import read_tagged
from tlft.names import Param, Tag
from tlft.records.record import Record
from tlft.tracking.done_before import own_database
from tlft.tracking.reader import to_record
from tlft.tracking.server import answering
from tlft.tracking.store import Store


def find_of_any_length(store: Store, config: Config, key: str) -> list[Record]:
    """Return the finished runs whose `key_of_any_length` this is, the longest first, and of equal ones the newest."""
    path = own_database(config)
    records = None if path is None else read_tagged(path, config.tracking.experiment, Tag.ANY_LENGTH, key)
    if records is None:
        with answering(store.uri):
            records = [to_record(run) for run in store.search(f"tags.`{Tag.ANY_LENGTH}` = '{key}'")]
    finished = [record for record in records if record.status == "FINISHED" and not record.deleted]
    return sorted(finished, key=lambda record: (epochs_of(record), record.start_time), reverse=True)


def epochs_of(record: Record) -> int:
    """Return how many epochs a run was trained for at most."""
    return int(record.params[Param.EPOCHS])
