"""Runs that evaluate one fold each are one figure of all images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import TINY_ARCH, draw_folder
from fabricated import compose

from analysis import table as command
from analysis.query import TableQuery, load_table
from analysis.report import __main__ as report
from tlft.config.compose import Composer
from tlft.runs.experiment import run_experiment

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
