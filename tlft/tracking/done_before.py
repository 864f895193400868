"""Whether a run is done, as the home's own database tells it: without MLflow, whose import takes seconds."""

from __future__ import annotations

from pathlib import Path

from tlft.config.addresses import name_in_home, place_of
from tlft.config.schema import Config
from tlft.database.places import local_folder, tracking_uri
from tlft.database.runs import read_tagged, some_are_running
from tlft.database.schema import database_path, find_problems
from tlft.names import Tag
from tlft.records.outcome import Outcome, RunStatus
from tlft.records.record import Record
from tlft.runtime.claims import Claim
from tlft.tracking.integrity import find_damage


def find_done(config: Config, key: str) -> Outcome | None:
    """Return the outcome of the newest finished run of a key, if nothing else is to be done about the key.

    None where that cannot be told without MLflow: there is no such run, it is damaged, the home was moved, somebody
    is at work, or something is left that a killed process has not done.
    """
    path, experiment = own_database(config), config.tracking.experiment
    if path is None:
        return None
    records = read_tagged(path, experiment, Tag.RUN_KEY, key) or ()
    finished = [record for record in records if record.status == "FINISHED" and not record.deleted]
    newest = max(finished, key=lambda record: (record.start_time, record.run_id), default=None)
    if newest is None or _is_left_over(config, newest, key) or some_are_running(path, experiment) is not False:
        return None
    return None if find_damage(newest.artifacts, newest.tags) else outcome_of(newest)


def is_new(config: Config, key: str) -> bool:
    """Tell whether it is certain that no run of a key was begun; False where that cannot be told without MLflow."""
    path = own_database(config)
    return path is not None and read_tagged(path, config.tracking.experiment, Tag.RUN_KEY, key) == []


def own_database(config: Config) -> Path | None:
    """Return the home's own database, if it is the store of a configuration and can be read as it is."""
    own = tracking_uri(None, config.home)
    uri = tracking_uri(config.tracking.uri, config.home)
    path = database_path(uri)
    return None if uri != own or path is None or not path.exists() or find_problems(uri) else path


def _is_left_over(config: Config, record: Record, key: str) -> bool:
    """Tell whether something of an unfinished run of the key is there, or the record is of another home's files."""
    own = tracking_uri(None, config.home)
    name = name_in_home(place_of(own, record.experiment_id, own), key)
    folder = local_folder(record.artifacts)
    return (
        folder is None
        or not folder.is_relative_to(config.home)
        or (config.home / "checkpoints" / name).exists()
        or Claim(config.home / "cache" / "locks", name).has_files()
    )


def outcome_of(record: Record) -> Outcome:
    """Return what became of a run that was computed before."""
    seconds = float(record.tags.get(Tag.SECONDS, 0))
    return Outcome(RunStatus.SKIPPED, record.run_id, record.name, record.metrics, seconds=seconds, tags=record.tags)
