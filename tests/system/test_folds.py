"""Runs that evaluate one fold each are one figure of all images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import TINY_ARCH, draw_folder
from fabricated import compose
from sklearn.metrics import balanced_accuracy_score, f1_score, recall_score

from analysis import table as command
from analysis.query import TableQuery, load_table
from analysis.report import __main__ as report
from tlft.config.compose import Composer
from tlft.database.places import local_folder
from tlft.errors import ConfigurationError
from tlft.names import Artifact
from tlft.runs.experiment import run_experiment
from tlft.tracking.reader import ArtifactReader, load_records

FOLDS = 3


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """A folder of classes without splits: 16 images."""
    drawn = draw_folder(tmp_path / "drawn")
    for split in ("train", "val"):
        for path in sorted((drawn / split).rglob("*.*")):
            to = tmp_path / "flat" / path.parent.name / f"{split}_{path.name}"
            to.parent.mkdir(parents=True, exist_ok=True)
            path.rename(to)
    return tmp_path / "flat"


def run(composer: Composer, home: Path, flat: Path, fold: int, *more: str) -> str:
    """Run one fold of a network that is trained from scratch."""
    recipe = ("model=scratch", *TINY_ARCH, "training.epochs=1", "training.batch_size=4")
    folds = (f"data.folds={FOLDS}", f"data.fold={fold}")
    return run_experiment(compose(composer, home, flat, *recipe, *folds, *more)).run_id


def test_the_table_pools_the_folds(
    composer: Composer, home: Path, flat: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = [run(composer, home, flat, fold, f"seed={seed}") for seed in (0, 1) for fold in range(FOLDS)]
    table, reader = load_table(TableQuery())
    (row,) = table.rows
    cell = row.cells["from_scratch"]
    assert (cell.n, len(table.runs), table.left_out) == (2, 2, {})
    assert [run_id.split("+") for run_id in cell.run_ids] == [ids[:FOLDS], ids[FOLDS:]]
    frames = reader.predictions(table.runs)
    files = sum(len(list(folder.iterdir())) for folder in flat.iterdir())
    for run_id in cell.run_ids:
        assert len(frames[run_id]) == len(set(frames[run_id]["sha256"])) == files
    shares = [(frames[run_id]["predicted"] == frames[run_id]["label"]).mean() for run_id in cell.run_ids]
    assert cell.accuracy == pytest.approx(np.mean(shares))
    evidence = table.evidence_of(row, "from_scratch")
    assert evidence is not None
    assert len(evidence.correctness.images) == files
    assert command.main([]) == 0
    assert "3-fold cross-validation: each image is judged once" in " ".join(capsys.readouterr().out.split())
    assert report.main(["--out", str(home / "page.html")]) == 0
    page = (home / "page.html").read_text()
    assert all(run_id in page for run_id in ids), "each run has its page in MLflow"


def test_folds_without_the_others_are_left_out_and_said(composer: Composer, home: Path, flat: Path) -> None:
    for fold in range(FOLDS):
        run(composer, home, flat, fold)
    run(composer, home, flat, 0, "seed=1")
    run(composer, home, flat, 1, "data.train_fraction=0.5")
    table, _ = load_table(TableQuery())
    assert (len(table.runs), table.left_out) == (1, {"without its other folds": 2})


def test_every_measure_of_folds_is_that_of_all_images_or_the_mean_over_the_networks(
    composer: Composer, home: Path, flat: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in sorted((flat / "bees").iterdir())[3:]:  # classes are unlike, and folds have them in other shares
        path.unlink()
    ids = [run(composer, home, flat, fold, "data.holdout_fraction=0.3") for fold in range(FOLDS)]
    records = {record.run_id: record for record in load_records("tlft", home=home)}
    frames = ArtifactReader(home=home).predictions(list(records.values()))
    pooled = pd.concat([frames[run_id] for run_id in ids])
    of_all = (pooled["label"], pooled["predicted"])
    expected = {
        "eval/accuracy": (pooled["label"] == pooled["predicted"]).mean(),
        "eval/balanced_accuracy": balanced_accuracy_score(*of_all),
        "eval/macro_f1": f1_score(*of_all, average="macro", zero_division=0),
        "eval/recall/bees": recall_score(*of_all, labels=["bees"], average=None, zero_division=0)[0],
        **{
            name: np.mean([records[run_id].metrics[name] for run_id in ids])
            for name in ("holdout/accuracy", "train/loss", "time/train_seconds")
        },
    }
    for metric, value in expected.items():
        table, _ = load_table(TableQuery(metric=metric))
        (row,) = table.rows
        assert row.cells["from_scratch"].accuracy == pytest.approx(value), metric
    assert command.main(["--metric", "holdout/accuracy"]) == 0
    assert "3-fold cross-validation: a figure is the mean over 3 networks" in " ".join(capsys.readouterr().out.split())

    for run_id in ids[:1]:
        folder = local_folder(records[run_id].artifacts)
        assert folder is not None
        (folder / Artifact.PREDICTIONS).unlink()
    with pytest.raises(ConfigurationError, match=r"without eval/macro_f1 of all folds together \(1\)"):
        load_table(TableQuery(metric="eval/macro_f1"))


def test_folds_that_start_from_their_own_runs_of_one_cross_validation_are_one(
    composer: Composer, home: Path, flat: Path
) -> None:
    tuned = ("model=run", "model.name=pretrained", "training.trainable=all", "training.batch_size=3")
    probes = [run(composer, home, flat, fold) for fold in range(FOLDS)]
    others = [run(composer, home, flat, fold, "training.batch_size=5") for fold in range(FOLDS)]

    def tune(parents: list[str], *more: str) -> None:
        for fold, parent in enumerate(parents):
            run(composer, home, flat, fold, *tuned, f"model.run_id={parent}", *more)

    tune(probes)
    tune([*others[1:], others[0]], "seed=1")  # networks that have seen the images of the fold
    tune([*probes[:2], others[2]], "seed=2")  # of another recipe
    table, _ = load_table(TableQuery(columns="all"))
    joined = [record for record in table.runs if record.params["model.name"] == "pretrained"]
    assert [len(record.parts or ()) for record in joined] == [FOLDS]
    assert joined[0].tags["weights"] == f"run {probes[0][:8]} and its other folds"
    assert table.left_out == {"without its other folds": 2 * FOLDS}
