"""A home that was moved or copied, and what becomes of its runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import mlflow
import pytest
from conftest import TINY_ARCH, run_py

from tlft import clean, sync
from tlft.runtime.claims import Claim
from tlft.tracking.reader import load_records


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    """Return a home whose path needs escapes in an address, with one run; no test changes it."""
    home = tmp_path_factory.mktemp("the home")
    done = run_py(*command(tiny_folder), home=home)
    assert done.returncode == 0, done.stderr
    return home


@pytest.fixture
def moved(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the home where it was moved to; what it was before is gone."""
    before, after = tmp_path / "before it", tmp_path / "after it"
    shutil.copytree(original, before)
    monkeypatch.setenv("TLFT_HOME", str(before))
    assert clean.main(["--relocate"]) == 0
    before.rename(after)
    monkeypatch.setenv("TLFT_HOME", str(after))
    return after


def command(folder: Path) -> list[str]:
    small = ["data=imagefolder", f"data.root={folder}", "training.epochs=1", "training.batch_size=8", "threads=1"]
    return [*TINY_ARCH, *small, "model=scratch"]


def files_through_mlflow(home: Path) -> list[str]:
    """Return the names of the run's files and of its model's, fetched as anybody would."""
    (record,) = load_records("tlft", home=home)
    client = mlflow.MlflowClient(f"sqlite:///{home}/mlflow.db")
    run = client.get_run(record.run_id)
    assert run.info.artifact_uri.startswith(home.as_uri())
    (model,) = client.search_logged_models([run.info.experiment_id])
    assert model.artifact_location.startswith(home.as_uri())
    fetched = Path(client.download_artifacts(record.run_id, "weights"))
    return [*(path.path for path in client.list_artifacts(record.run_id)), *(path.name for path in fetched.iterdir())]


def test_the_same_command_finds_the_run_done_where_it_was_moved_to(moved: Path, tiny_folder: Path) -> None:
    again = run_py(*command(tiny_folder), home=moved)
    assert again.returncode == 0, again.stderr
    assert "done already" in again.stdout + again.stderr
    assert "was moved or copied here: mended" in again.stdout + again.stderr
    assert {"predictions.parquet", "model.safetensors"} <= set(files_through_mlflow(moved))
    assert sorted(path.name for path in moved.parent.iterdir()) == ["after it"]
    quiet = run_py(*command(tiny_folder), home=moved)
    assert "mended" not in quiet.stdout + quiet.stderr


def test_one_command_mends_a_home_that_was_moved(moved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert clean.main(["--relocate"]) == 0
    assert "mended 4 places" in capsys.readouterr().out  # MLflow's first experiment, ours, its run, its model
    assert {"predictions.parquet", "model.safetensors"} <= set(files_through_mlflow(moved))
    assert clean.main(["--relocate"]) == 0
    assert "mended 0 places" in capsys.readouterr().out


def test_files_are_verified_where_they_were_moved_to(moved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sync.main(["--verify"]) == 0
    assert "1 finished run looked at, 0 damaged" in capsys.readouterr().out


def test_a_copy_has_files_of_its_own(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(original, copy)
    monkeypatch.setenv("TLFT_HOME", str(copy))
    (record,) = load_records("tlft", home=copy)
    mlflow.MlflowClient(f"sqlite:///{copy}/mlflow.db").delete_run(record.run_id)
    assert clean.main(["--yes"]) == 0
    assert "deleted 2" in capsys.readouterr().out  # the run's files and its model's
    assert list(original.glob("mlruns/tlft/*/artifacts/predictions.parquet"))
    assert not list(copy.glob("mlruns/tlft/*/artifacts/predictions.parquet"))


def test_a_second_name_of_the_same_home_changes_nothing(
    moved: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clean.main(["--relocate"])
    alias = moved.parent / "alias"
    alias.symlink_to(moved)
    monkeypatch.setenv("TLFT_HOME", str(alias))
    capsys.readouterr()
    assert clean.main(["--relocate"]) == 0
    assert "mended 0 places" in capsys.readouterr().out


def test_nothing_is_mended_under_somebodys_hands(moved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    claim = Claim(moved / "cache" / "locks", "1-somebody")
    assert claim.acquire()
    assert sync.main([]) == 1
    said = capsys.readouterr().err
    assert "cannot be mended while 1 runs are being worked on" in said
    assert "python -m tlft.clean --relocate" in said
    claim.release()
    assert sync.main([]) == 0
