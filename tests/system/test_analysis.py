"""The commands of analysis, and what they say of runs that were really computed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
from conftest import Configure
from fabricated import compose, folder_of, scene
from nbclient import NotebookClient

from analysis import diff, errors
from tlft.config.compose import Composer
from tlft.config.paths import PROJECT
from tlft.runs.experiment import run_experiment
from tlft.tracking.reader import load_records


def test_the_command_compares_what_mlflow_keeps(
    composer: Composer, home: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = compose(composer, home, tiny_folder, "training.epochs=1")
    first = run_experiment(config)
    second = run_experiment(replace(config, force=True))
    other = run_experiment(compose(composer, home, tiny_folder, "training.epochs=1", "seed=1"))
    assert diff.main([first.run_id, second.run_id]) == 0
    assert "no difference" in capsys.readouterr().out
    assert diff.main([first.run_id, other.run_id, "--format", "json"]) == 1
    kinds = {difference["kind"] for difference in json.loads(capsys.readouterr().out)}
    assert {"configuration", "metrics", "weights", "images"} <= kinds
    assert not kinds & {"code", "environment"}
    (weights,) = home.glob(f"mlruns/*/{first.run_id}/artifacts/weights/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert diff.main([first.run_id, second.run_id]) == 1
    assert "weights: 1 differs" in capsys.readouterr().out
    assert diff.main([first.run_id, first.run_id]) == 2
    assert diff.main([first.run_id, "f" * 32]) == 2
    assert "no such run" in capsys.readouterr().err


def test_the_example_notebook_runs(
    composer: Composer, home: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ants_and_bees = "data.class_map={ants:[310],bees:[309]}"
    for overrides in (
        ("training.epochs=1",),
        ("training.epochs=1", "seed=1"),
        ("model=scratch", "training.epochs=1"),
        ("head=imagenet1k", "training.trainable=none", ants_and_bees),
    ):
        run_experiment(compose(composer, home, tiny_folder, *overrides))
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    path = PROJECT / "examples" / "comparison.ipynb"
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []  # the stored ones, of a demo's runs
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": path.parent}}
    ).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    data = [output["data"] for output in outputs if output["output_type"] in ("execute_result", "display_data")]
    assert 'class="tlft"' in data[0]["text/html"]
    assert "fine-tuned" in data[0]["text/html"]
    assert sum("text/html" in item for item in data) >= 6
    assert any("image/png" in item for item in data)


def test_command_looks_at_the_runs_of_mlflow(
    tmp_path: Path, configure: Configure, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert errors.main([]) == 2
    assert "no runs in experiment tlft" in capsys.readouterr().err
    copies = {"val/bees/copy.jpg": scene(500), "train/bees/again.jpg": scene(1500)}
    root = folder_of(tmp_path / "scenes", copies)
    small = ("data=imagefolder", f"data.root={root}", "arch=timm", "arch.name=test_efficientnet", "model=scratch")
    for seed in (0, 1):
        run_experiment(configure(*small, "training.epochs=0", "head=task", f"seed={seed}"), f"data: {{root: {root}}}")
    out = tmp_path / "doubts.html"
    capsys.readouterr()
    assert errors.main(["--out", str(out)]) == 0
    output = capsys.readouterr().out
    assert "scenes: " in output
    assert "val/bees/copy.jpg (eval) and train/ants/0.png (train): nearly the same" in output
    assert "1 pair of a training and an evaluation image, and 1 pair within a split" in output
    assert output.endswith(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB)\n")
    page = out.read_text()
    assert page.count("data:image/webp;base64,") >= 4
    assert errors.main(["--out", str(tmp_path)]) == 2
    assert "is a folder; name a file in it" in capsys.readouterr().err
    older = Path(load_records("tlft", home=home)[0].artifacts.removeprefix("file://")) / "near_duplicates.json"
    older.unlink()
    assert errors.main(["--out", str(out)]) == 0
    assert "1 pair of a training" in capsys.readouterr().out


def test_a_run_keeps_what_it_found_and_the_table_says_it(
    tmp_path: Path, configure: Configure, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = folder_of(tmp_path / "scenes", {"val/bees/copy.jpg": scene(500)})
    small = ("data=imagefolder", f"data.root={root}", "arch=timm", "arch.name=test_efficientnet", "model=scratch")
    run_experiment(configure(*small, "training.epochs=0", "head=task"))
    (record,) = load_records("tlft", home=home)
    kept = json.loads((Path(record.artifacts.removeprefix("file://")) / "near_duplicates.json").read_text())
    assert kept["near_duplicates"][0]["one"]["file"] == "val/bees/copy.jpg"
    said = "1 evaluation image has a near-duplicate among the training images"
    assert record.tags["near_duplicates"].startswith(said)
    assert f"scenes: {said}" in caplog.text
