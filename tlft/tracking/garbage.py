"""Find what a home holds of runs that are finished, deleted or gone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tlft.errors import ConfigurationError, TlftError
from tlft.runtime.claims import Claim
from tlft.runtime.garbage import Waste, waste
from tlft.tracking.active_run import DIVERGED_TAG, RunFolder
from tlft.tracking.client import connect, local_folder, quiet, restore, tracking_uri
from tlft.tracking.journal import Journal
from tlft.tracking.reader import find_run
from tlft.tracking.schema import find_problems
from tlft.tracking.server import answering

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


def orphan_checkpoints(home: Path) -> Iterator[Waste]:
    """Yield the folders of unfinished runs that no run goes on from; nobody can begin with one while it is yielded.

    One that somebody works on is left out, and one that another run goes on from.
    """
    for path in sorted((home / "checkpoints").glob("*")):
        claim = Claim(home / "cache" / "locks", path.name)
        if not claim.acquire():
            continue
        try:
            if path.exists() and (found := _look_at(path, home)) is not None:
                yield found
        finally:
            claim.release()


def _look_at(path: Path, home: Path) -> Waste | None:
    told = RunFolder(path).read()
    if "run_id" not in told:
        return waste(path, "names no run")
    run_id = told["run_id"]
    if not told.get("uri") and not (home / "mlflow.db").exists():  # MLflow would make a new one, and know no run
        return waste(path, f"run {run_id} cannot be looked up: there is no {home / 'mlflow.db'}", kept=True)
    try:
        state, mend = _state(connect(tracking_uri(told.get("uri") or None, home)), run_id)
    except Exception as error:  # a server that is away: nothing is known of the run
        return waste(path, f"run {run_id} cannot be looked up ({' '.join(str(error).split())[:120]})", kept=True)
    if (damaged := _damaged(path)) is not None or not state:
        return damaged
    if waiting := Journal(path).waiting:
        return waste(path, f"run {run_id} {state}, and {waiting} entries are not delivered; {mend}", kept=True)
    return waste(path, f"run {run_id} {state}")


def _damaged(path: Path) -> Waste | None:
    """Return what keeps an unfinished run from going on, if its journal cannot be read."""
    try:
        Journal(path)
    except TlftError as error:
        return waste(path, str(error), kept=True)
    return None


def _state(client: MlflowClient, run_id: str) -> tuple[str, str]:
    """Say why a run does not go on, and how what it has not delivered is saved; two empty texts if it goes on."""
    sync = "python -m tlft.sync first"
    run = find_run(client, run_id)
    if run is None:
        return "is gone from MLflow", "nothing can take them: delete the folder yourself if you do not want them"
    if run.info.lifecycle_stage == "deleted":
        back = restore("runs", run_id, str(client.tracking_uri))
        return "was deleted", f"{back}, then {sync}; or delete the folder yourself"
    if run.info.status == "FINISHED":
        return "is finished", sync
    if DIVERGED_TAG in run.data.tags:
        return "has diverged", sync
    return "", ""


def deleted_artifacts(home: Path) -> Iterator[Waste]:
    """Yield the folders of this home in which runs that were deleted in its own store have files, or their models.

    Raises:
        TlftError: if the store cannot be opened.
    """
    if not (home / "mlflow.db").exists():
        return
    from mlflow.entities import ViewType

    address = tracking_uri(None, home)
    if problems := find_problems(address):
        raise ConfigurationError(problems)
    with answering(address), quiet():
        client = connect(address)
        experiments = [found.experiment_id for found in client.search_experiments(ViewType.ALL)]
        runs = [run for one in experiments for run in _deleted_runs(client, one)]
    for run in runs:
        registered = _registered(client, run)
        why = f"run {run.info.run_id} ({run.info.run_name}) was deleted; restored, it has its figures and no files"
        why = f"run {run.info.run_id} was deleted, but its model is registered as {registered}" if registered else why
        for folder in _folders_of(client, run):
            if folder.resolve().is_relative_to(home.resolve()) and folder.is_dir() and any(folder.iterdir()):
                yield waste(folder, why, kept=bool(registered))


def _registered(client: MlflowClient, run: Run) -> str:
    """Return the name under which somebody registered a model of a run, or an empty text."""
    return next((str(one.name) for one in client.search_model_versions(f"run_id = '{run.info.run_id}'")), "")


def _deleted_runs(client: MlflowClient, experiment_id: str) -> Iterator[Run]:
    from mlflow.entities import ViewType

    token: str | None = None
    while token is None or token:
        page = client.search_runs([experiment_id], run_view_type=ViewType.DELETED_ONLY, page_token=token)
        yield from page
        token = page.token or ""


def _folders_of(client: MlflowClient, run: Run) -> Iterator[Path]:
    """Yield the local folders of a run and its models; only such as bear their name."""
    models = client.search_logged_models([run.info.experiment_id], filter_string=f"source_run_id = '{run.info.run_id}'")
    owned = [(run.info.run_id, run.info.artifact_uri)]
    owned += [(model.model_id, model.artifact_location) for model in models]
    for name, address in owned:
        folder = local_folder(address)
        if folder is not None and folder.is_absolute() and folder.parent.name == name:
            yield folder.parent
