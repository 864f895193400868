"""Find what a home holds of runs that are finished, deleted or gone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tlft.commands import invocation
from tlft.database.places import is_there, local_folder, tracking_uri
from tlft.errors import TlftError, one_line
from tlft.names import Tag
from tlft.runtime.garbage import Waste
from tlft.storage.journal import Journal
from tlft.tracking.client import all_runs, connect, logged_models, quiet, restore
from tlft.tracking.run_folder import RunFolder, idle_folders
from tlft.tracking.server import answering

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


def orphan_checkpoints(home: Path) -> Iterator[Waste]:
    """Yield the folders of unfinished runs that no run goes on from; nobody can begin with one while it is yielded."""
    for folder in idle_folders(home):
        if (orphan := _as_waste(folder, home)) is not None:
            yield orphan


def _as_waste(folder: RunFolder, home: Path) -> Waste | None:
    """Say why nobody goes on from a folder, or why that cannot be known; None if a run does."""
    path, address = folder.path, folder.address
    if address is None:
        return Waste(path, "names no run")
    run_id = address.run_id
    if not address.uri and not (home / "mlflow.db").exists():  # MLflow would make a new one, and know no run
        return Waste(path, f"run {run_id} cannot be looked up: there is no {home / 'mlflow.db'}", kept=True)
    try:
        client, run = address.look_up(home)
    except Exception as error:  # a server that is away: nothing is known of the run
        return Waste(path, f"run {run_id} cannot be looked up ({one_line(error, 120)})", kept=True)
    try:
        waiting = Journal(path).waiting
    except TlftError as error:  # it cannot be read, which keeps an unfinished run from going on
        return Waste(path, str(error), kept=True)
    state, mend = _describe_end(run, run_id, str(client.tracking_uri))
    if not state:
        return None
    if waiting:
        return Waste(path, f"run {run_id} {state}, and {waiting} entries are not delivered; {mend}", kept=True)
    return Waste(path, f"run {run_id} {state}")


def _describe_end(run: Run | None, run_id: str, uri: str) -> tuple[str, str]:
    """Say why a run does not go on, and how what it has not delivered is saved; two empty texts if it goes on."""
    sync = f"{invocation('sync')} first"
    if run is None:
        return "is gone from MLflow", "nothing can take them: delete the folder yourself if you do not want them"
    if run.info.lifecycle_stage == "deleted":
        return "was deleted", f"{restore('runs', run_id, uri)}, then {sync}; or delete the folder yourself"
    if run.info.status == "FINISHED":
        return "is finished", sync
    if Tag.DIVERGED in run.data.tags:
        return "has diverged", sync
    return "", ""


def deleted_artifacts(home: Path) -> Iterator[Waste]:
    """Yield the folders of this home in which runs that were deleted in its own store have files, or their models.

    Raises:
        TlftError: if the store cannot be opened.
    """
    uri = tracking_uri(None, home)
    if not is_there(uri):
        return
    from mlflow.entities import ViewType

    with answering(uri), quiet:
        client = connect(uri)
        experiments = client.search_experiments(ViewType.ALL)
        runs = [run for stored in experiments for run in all_runs(client, stored.experiment_id, only_deleted=True)]
    for run in runs:
        versions = client.search_model_versions(f"run_id = '{run.info.run_id}'")
        why = f"run {run.info.run_id} ({run.info.run_name}) was deleted; restored, it has its figures and no files"
        if versions:
            why = f"run {run.info.run_id} was deleted, but its model is registered as {versions[0].name}"
        for folder in _folders_of(client, run):
            if folder.resolve().is_relative_to(home.resolve()) and folder.is_dir() and any(folder.iterdir()):
                yield Waste(folder, why, kept=bool(versions))


def _folders_of(client: MlflowClient, run: Run) -> Iterator[Path]:
    """Yield the local folders of a run and its models; only such as bear their name."""
    models = logged_models(client, run.info.experiment_id, run.info.run_id)
    places = [(run.info.run_id, run.info.artifact_uri)]
    places += [(model.model_id, model.artifact_location) for model in models]
    for name, place in places:
        folder = local_folder(place)
        if folder is not None and folder.is_absolute() and folder.parent.name == name:
            yield folder.parent
