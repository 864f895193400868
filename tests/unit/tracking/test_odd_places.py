"""A home may be called anything, and an experiment too: all that is written stays in the home."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Configure

from tlft.database.places import tracking_uri
from tlft.database.schema import database_path
from tlft.storage.files import artifact_folder
from tlft.tracking.claimed_run import claim_run
from tlft.tracking.reader import ArtifactReader, load_records
from tlft.tracking.store import Store

KEY = "9" * 64
ODD = ("q?x=1", "p%2Fq", "100%", "h#ash", "sp ace", 'it\'s "so"', "ünï", "user:pass@x", "back\\slash", "new\nline")


@pytest.mark.parametrize("name", ODD)
def test_the_address_of_a_database_leads_back_to_its_file(name: str) -> None:
    home = Path("/homes") / name
    assert database_path(tracking_uri(None, home)) == home / "mlflow.db"


def test_an_ordinary_address_stays_as_it_was() -> None:
    assert tracking_uri(None, Path("/a b/tlft-1")) == "sqlite:////a b/tlft-1/mlflow.db"
    assert database_path("sqlite:////a/mlflow.db?timeout=5") == Path("/a/mlflow.db")
    assert database_path("http://127.0.0.1:5000") is None


@pytest.mark.parametrize(
    ("name", "experiment"), [("q?x=1", "tlft"), ("p%2Fq 100%", "../../outside"), ("h#ash\n", "/Shared/a?b")]
)
def test_a_run_in_an_odd_home_is_kept_there_whole(
    configure: Configure, tmp_path: Path, name: str, experiment: str
) -> None:
    configured = configure(f'tracking.experiment="{experiment}"')
    configured.paths.home = str(tmp_path / "odd" / name)
    home = configured.home
    with claim_run(Store(configured), KEY) as claim, claim.start("a run", {"seed": "0"}, {}) as run:
        run.log_metrics({"eval/accuracy": 0.5})
        with run.writing_files() as folder:
            (folder / "config.yaml").write_text("seed: 0")
    (record,) = load_records(experiment, home=home)
    assert record.status == "FINISHED"
    assert ArtifactReader(None, home).text(record, "config.yaml") == "seed: 0"
    assert Store(configured).finished(KEY) is not None
    assert [path.name for path in (tmp_path / "odd").iterdir()] == [name]
    assert len([*(home / "mlruns").rglob("config.yaml")]) == 1


@pytest.mark.parametrize(
    "experiment", ["../../outside", "..", ".", "/etc", "a/b", "a\\b", "~", "a\nb", " x", "é" * 200]
)
def test_the_files_of_an_experiment_lie_in_a_folder_of_their_own(tmp_path: Path, experiment: str) -> None:
    folder = artifact_folder(tmp_path, experiment)
    assert folder.resolve().parent == tmp_path.resolve()
    folder.mkdir()
    assert artifact_folder(tmp_path, experiment) == folder
    assert artifact_folder(tmp_path, f"{experiment}x") != folder


def test_an_ordinary_experiment_has_its_own_name(tmp_path: Path) -> None:
    assert artifact_folder(tmp_path, "ants & bees, 日本-debug") == tmp_path / "ants & bees, 日本-debug"
