"""With a run in hand: new images classified from the command line, the run registered, and served."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import requests
from fabricated import FINE_TUNE, compose, run
from PIL import Image
from servers import free_port

from tlft.config.compose import Composer
from tlft.errors import ConfigurationError
from tlft.inference.classifier import load_file
from tlft.names import Tag
from tlft.pixels.transforms import Transform
from tlft.predict import find_files
from tlft.predict import main as predict
from tlft.register import choose_best
from tlft.register import main as register
from tlft.runs.experiment import run_experiment
from tlft.storage import records
from tlft.storage.records import last_used
from tlft.tracking.reader import load_records


@dataclass
class Home:
    path: Path
    folder: Path
    fine_tuned: str
    untouched: str
    frame: pd.DataFrame


@pytest.fixture(scope="module")
def home(composer: Composer, tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Iterator[Home]:
    path = tmp_path_factory.mktemp("home")
    tuned = run_experiment(compose(composer, path, tiny_folder, "training.epochs=1", "data.holdout_fraction=0.25"))
    classes = "data.class_map={ants:[310],bees:[309]}"
    plain = compose(composer, path, tiny_folder, "head=imagenet1k", "training.trainable=none", classes)
    untouched = run_experiment(plain)
    (record,) = [record for record in load_records("tlft", home=path) if record.run_id == tuned.run_id]
    frame = pd.read_parquet(Path(record.artifacts.removeprefix("file://")) / "predictions.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLFT_HOME", str(path))
        yield Home(path, tiny_folder, tuned.run_id, untouched.run_id, frame)


def test_a_folder_is_classified_as_the_run_did(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict([home.fine_tuned, str(home.folder / "val"), "--format", "json"]) == 0
    output = capsys.readouterr()
    answers = {Path(entry["file"]).relative_to(home.folder).as_posix(): entry for entry in json.loads(output.out)}
    assert set(answers) == set(home.frame["file"])
    for _, row in home.frame.iterrows():
        answer = answers[row["file"]]
        assert (answer["predicted"], answer["label"]) == (row["predicted"], row["label"])
        assert answer["probabilities"]["ants"] == pytest.approx(row["p/ants"], abs=1e-4)
    right = (home.frame["predicted"] == home.frame["label"]).sum()
    assert f"({right} of {len(home.frame)} whose folder names a class)" in output.err


def test_csv_and_terminal(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    photograph = str(home.folder / "val" / "ants" / "0.png")
    assert predict([home.fine_tuned, photograph, "--format", "csv"]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert list(row) == ["file", "label", "predicted", "confidence", "p/ants", "p/bees"]
    assert float(row["p/ants"]) + float(row["p/bees"]) == pytest.approx(1, abs=1e-4)
    assert predict([home.untouched, photograph, "--top", "3"]) == 0
    line, accuracy = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{photograph}: ")
    assert line.count(" %") == 4
    assert "(its folder says ants: " in line
    assert accuracy == "accuracy 0.000 % (0 of 1 whose folder names a class)"


def test_what_is_no_image_is_named_and_skipped(home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.jpg").write_text("no image")
    (tmp_path / ".hidden").write_text("no image")
    Image.new("RGB", (64, 48)).save(tmp_path / "fine.png")
    assert predict([home.fine_tuned, str(tmp_path)]) == 1
    output = capsys.readouterr()
    assert len(output.out.splitlines()) == 1
    assert output.err.startswith(f"skipped: {tmp_path / 'notes.jpg'}: ")
    assert "hidden" not in output.err


def test_files_folders_and_patterns_are_found_once(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home.folder)
    files = find_files(["val/ants", "val/ants/0.png", "val/*/1.png"])
    assert len(files) == 7
    with pytest.raises(ConfigurationError, match=r"nothing\.jpg: no such file, folder or pattern"):
        find_files(["nothing.jpg"])


def test_overlays_show_where_it_looked(home: Home, tmp_path: Path) -> None:
    assert predict([home.fine_tuned, str(home.folder / "val" / "bees"), "--explain", str(tmp_path / "cam")]) == 0
    pictures = sorted((tmp_path / "cam").iterdir())
    assert len(pictures) == 6
    assert pictures[0].name.startswith("bees-0-")
    assert Image.open(pictures[0]).size == (2 * 224 + 4 * 8 + 14 + 44, 224 + 28 + 8)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["0" * 32], "no such run in sqlite:///"),
        (["models:/nothing@champion"], "no such registered model"),
        (["models:/nothing"], "write models:/NAME@ALIAS or models:/NAME/VERSION"),
        (["x", "--top", "0"], "--top 0: give 1 or more"),
    ],
)
def test_mistakes_are_one_line(
    home: Home, arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict([arguments[0], str(home.folder), *arguments[1:]]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert reason in line


def test_the_best_is_chosen_on_the_hold_out_alone() -> None:
    plain = run(FINE_TUNE, 0.99)
    with pytest.raises(ConfigurationError, match=r"never chosen by the evaluation images"):
        choose_best([plain], "tlft")
    worse, better = (run(FINE_TUNE, accuracy, seed=str(accuracy)) for accuracy in (0.95, 0.9))
    worse.metrics["holdout/accuracy"], better.metrics["holdout/accuracy"] = 0.8, 0.9
    assert choose_best([plain, worse, better], "tlft") is better
    elsewhere = run(FINE_TUNE, data__holdout="f0" * 32)
    elsewhere.metrics["holdout/accuracy"] = 1.0
    with pytest.raises(ConfigurationError, match="2 different hold-outs"):
        choose_best([worse, elsewhere], "tlft")


def test_a_run_is_registered_once_with_its_figures(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    from mlflow import MlflowClient

    assert register(["--best-of", "tlft", "--name", "insects"]) == 0
    assert register([home.fine_tuned, "--name", "insects", "--alias", "best"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"models:/insects@champion is version 1, run {home.fine_tuned}")
    assert second.startswith("models:/insects@best is version 1")
    (version,) = MlflowClient(f"sqlite:///{home.path}/mlflow.db").search_model_versions("name = 'insects'")
    assert "holdout/accuracy: " in (version.description or "")
    assert ": ants, bees" in (version.description or "")
    assert version.tags[Tag.DATA] == home.folder.name
    model = MlflowClient(f"sqlite:///{home.path}/mlflow.db").get_registered_model("insects")
    assert "models:/insects@champion" in (model.description or "")
    assert predict(["models:/insects@best", str(home.folder / "val" / "ants" / "0.png")]) == 0
    assert register([home.fine_tuned, "--best-of", "tlft", "--name", "x"]) == 2
    assert register([home.fine_tuned, "--name", "a/b"]) == 2
    assert register(["f" * 32, "--name", "x"]) == 2


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the commands of an environment that has all libraries and no tlft: projects in use are in no folder."""
    folder = tmp_path_factory.mktemp("elsewhere")
    venv.EnvBuilder(symlinks=True).create(folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "libraries.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    uvicorn = folder / "bin" / "uvicorn"  # MLflow calls it by its name
    uvicorn.write_text(f"#!{folder / 'bin' / 'python'}\nfrom uvicorn.main import main\nmain()\n")
    uvicorn.chmod(0o755)
    return uvicorn.parent


@contextmanager
def environment_without(home: Home, commands: Path) -> Iterator[dict[str, str]]:
    """Yield the environment for a program that has neither tlft nor, until the end of the block, the runs' home."""
    names = ("PYTHONPATH", "TLFT_HOME", "MLFLOW_TRACKING_URI")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    path = f"{commands}{os.pathsep}{os.environ['PATH']}"
    aside = home.path.rename(home.path.with_name("aside"))
    try:
        yield {**environment, "PATH": path, "MLFLOW_TRACKING_URI": f"sqlite:///{commands.parent}/other.db"}
    finally:
        aside.rename(home.path)


def move_model(home: Home, run_id: str, to: Path) -> Path:
    """Copy the folder of the model that a run has logged."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{home.path}/mlflow.db")
    (model,) = client.search_logged_models(
        [client.get_run(run_id).info.experiment_id], filter_string=f"source_run_id = '{run_id}'"
    )
    return Path(shutil.copytree(model.artifact_location.removeprefix("file://"), to))


LOAD = """
import importlib.util, json, sys, mlflow, pandas
assert importlib.util.find_spec("tlft") is None
photographs, *models = sys.argv[1:]
images = pandas.DataFrame({"image": photographs.split("|")})
answers = [mlflow.pyfunc.load_model(model).predict(images).to_dict("records") for model in models]
assert "mlruns" not in sys.modules["tlft"].__file__
print(json.dumps(answers))
"""


def test_a_model_that_was_moved_answers_without_tlft_and_without_the_home(
    home: Home, elsewhere: Path, tmp_path: Path
) -> None:
    models = [str(move_model(home, run_id, tmp_path / run_id)) for run_id in (home.fine_tuned, home.untouched)]
    photographs = "|".join(str(home.folder / file) for file in home.frame["file"])
    with environment_without(home, elsewhere) as environment:
        program = [str(elsewhere / "python"), "-c", LOAD, photographs, *models]
        done = subprocess.run(program, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    tuned, untouched = json.loads(done.stdout)
    expected = home.frame[["predicted", "confidence", "p/ants", "p/bees"]].to_dict("records")
    assert [answer["predicted"] for answer in tuned] == [row["predicted"] for row in expected]
    assert [answer["p/ants"] for answer in tuned] == pytest.approx([row["p/ants"] for row in expected], abs=1e-4)
    assert len({answer["predicted"] for answer in untouched} - {"ants", "bees"}) > 0  # names of ImageNet's outputs


def test_a_model_of_former_versions_answers_with_the_weights_of_its_run(home: Home, tmp_path: Path) -> None:
    import mlflow

    moved = move_model(home, home.fine_tuned, tmp_path / "moved")
    (record,) = [record for record in load_records("tlft", home=home.path) if record.run_id == home.fine_tuned]
    description = json.loads((moved / "artifacts" / "model.json").read_text())
    description["weights"] = f"{record.artifacts}/weights/model.safetensors"
    (tmp_path / "model.json").write_text(json.dumps(description))
    (tmp_path / "code.py").write_text("from tlft.tracking import set_served_model\n\nset_served_model()\n")
    present = mlflow.pyfunc.load_model(str(moved))
    mlflow.pyfunc.save_model(
        tmp_path / "former",
        python_model=str(tmp_path / "code.py"),
        artifacts={"description": str(tmp_path / "model.json")},
        signature=present.metadata.signature,
        pip_requirements=[],
    )
    photographs = pd.DataFrame({"image": [str(home.folder / file) for file in home.frame["file"]]})
    former = mlflow.pyfunc.load_model(str(tmp_path / "former"))
    assert former.predict(photographs).equals(present.predict(photographs))


@pytest.fixture
def served(home: Home, elsewhere: Path, tmp_path: Path) -> Iterator[str]:
    import mlflow

    assert register([home.fine_tuned, "--name", "served"]) == 0
    mlflow.set_tracking_uri(f"sqlite:///{home.path}/mlflow.db")
    model = mlflow.artifacts.download_artifacts("models:/served@champion", dst_path=str(tmp_path))
    port = free_port()
    command = [str(elsewhere / "python"), "-m", "mlflow", "models", "serve", "-m", model]
    with (
        environment_without(home, elsewhere) as environment,
        subprocess.Popen(
            [*command, "--env-manager", "local", "--port", str(port), "--host", "127.0.0.1"],
            env=environment,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        assert process.stdout is not None
        # Not "startup complete": uvicorn says that before it listens.
        assert any("Uvicorn running" in line for line in process.stdout)
        yield f"http://127.0.0.1:{port}/invocations"
        os.killpg(process.pid, 15)
        process.stdout.read()


def ask(address: str, image: Any) -> requests.Response:
    return requests.post(address, json={"dataframe_records": [{"image": image}]}, timeout=60)


@pytest.mark.server
def test_a_served_model_answers_an_image_and_refuses_the_rest(served: str, home: Home) -> None:
    path = home.folder / "val" / "ants" / "0.png"
    photograph = base64.b64encode(path.read_bytes()).decode()
    answer = ask(served, photograph)
    assert answer.status_code == 200, answer.text
    (served_row,) = answer.json()["predictions"]
    (row,) = home.frame[home.frame["file"] == "val/ants/0.png"].to_dict("records")
    assert served_row["predicted"] == row["predicted"]
    assert served_row["p/ants"] == pytest.approx(row["p/ants"], abs=1e-3)
    bad = {
        "is not base64": "%%%",
        "is text, and no image": base64.b64encode(b"hello, world").decode(),
        "send at most": "A" * 50_000_000,
        f"'{path}'"[:30]: str(path),
        "is empty": "",
    }
    for reason, image in bad.items():
        refused = ask(served, image)
        assert 400 <= refused.status_code < 500, refused.text[:300]
        assert reason in refused.text.partition("Error: ")[2], refused.text[-300:]
    empty = requests.post(served, data="", headers={"Content-Type": "application/json"}, timeout=60)
    assert empty.status_code in range(400, 500)
    assert ask(served, photograph).status_code == 200


def answers_of(capsys: pytest.CaptureFixture[str], run_id: str, *paths: Path) -> list[dict[str, Any]]:
    assert predict([run_id, *map(str, paths), "--format", "json"]) == 0
    answers: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return answers


@pytest.mark.parametrize("which", ["untouched", "probe", "fine_tuned"])
def test_what_a_frozen_part_has_said_is_not_computed_again(
    home: Home,
    composer: Composer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    which: str,
) -> None:
    overrides = ("training.trainable=head", "training.epochs=1")
    probe = run_experiment(compose(composer, home.path, home.folder, *overrides)).run_id
    run_id = probe if which == "probe" else str(getattr(home, which))
    new = tmp_path / "new.png"
    Image.new("RGB", (64, 48), "purple").save(new)
    seen = sorted((home.folder / "val").rglob("*.png"))
    paths = [seen[0], new, *seen[1:]]
    loaded: list[Path] = []

    def load(path: Path, transform: Transform) -> np.ndarray:
        loaded.append(path)
        return load_file(path, transform)

    monkeypatch.setattr("tlft.inference.classifier.load_file", load)
    shared = answers_of(capsys, run_id, *paths)
    assert sorted(loaded) == sorted([new] if which != "fine_tuned" else paths)
    shutil.move(home.path / "cache" / "features", tmp_path / "features")
    records.open_store.cache_clear()
    anew = answers_of(capsys, run_id, *paths)
    shutil.move(tmp_path / "features", home.path / "cache" / "features")
    records.open_store.cache_clear()
    assert [answer["file"] for answer in shared] == [answer["file"] for answer in anew] == list(map(str, paths))
    for one, other in zip(shared, anew, strict=True):
        assert one["predicted"] == other["predicted"]
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-5)


def test_a_damaged_border_is_not_believed_and_prediction_is_use(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    image = home.folder / "val" / "ants" / "0.png"
    shards = sorted((home.path / "cache" / "features").glob("*/0*"))
    for shard in shards:
        os.utime(shard / "index.npy", (1, 1))
    expected = answers_of(capsys, home.untouched, image)
    assert [last_used(shard) > 1 for shard in shards].count(True) == 1
    borders = {path: path.read_text() for path in (home.path / "cache" / "features").glob("*/border.json")}
    try:
        for path, text in borders.items():
            path.write_text(text.replace('"module": "', '"module": "no_such_'))
        answers = answers_of(capsys, home.untouched, image)
        assert answers[0]["probabilities"] == pytest.approx(expected[0]["probabilities"], abs=1e-5)
    finally:
        for path, text in borders.items():
            path.write_text(text)


def test_a_damaged_feature_is_not_believed(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    image = home.folder / "val" / "ants" / "0.png"
    expected = answers_of(capsys, home.untouched, image)
    files = sorted((home.path / "cache" / "features").glob("*/*/records.bin"))
    whole = [file.read_bytes() for file in files]
    for file in files:
        file.write_bytes(bytes(byte ^ 1 if place >= 64 else byte for place, byte in enumerate(file.read_bytes())))
    records.open_store.cache_clear()
    try:
        assert answers_of(capsys, home.untouched, image)[0]["probabilities"] == pytest.approx(
            expected[0]["probabilities"], abs=1e-5
        )
    finally:
        for file, data in zip(files, whole, strict=True):
            file.write_bytes(data)
        records.open_store.cache_clear()
