"""The page of what is doubtful in the data, and the command that makes it."""

from __future__ import annotations

import hashlib
import html
from pathlib import Path

import pytest
from conftest import Configure
from fabricated import folder_of, network, scene

from analysis.errors import Findings, main, render_errors
from analysis.label_errors import Search, find_suspects
from tlft.data.near_duplicates import Member, Pair
from tlft.runs.experiment import run_experiment
from tlft.tracking.reader import load_records

EVIL = "<script>alert(1)</script>"


def test_page_shows_the_images_and_names_stay_text(tmp_path: Path) -> None:
    (tmp_path / "val").mkdir()
    names = ("val/a.png", f"val/{EVIL.replace('/', '')}.png")
    for index, name in enumerate(names):
        scene(index).save(tmp_path / name)
    digests = [hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in names]
    frame = network(0, wrong={7: "ants"})
    frame.loc[7, ["file", "sha256"]] = [names[1], digests[1]]
    search = find_suspects([frame, frame])
    pair = Pair(
        Member(names[0], digests[0], "eval", EVIL), Member("train/gone.png", "f" * 64, "train", "ants"), 3, True
    )
    page = render_errors([Findings(EVIL, search, (pair,), (tmp_path,))], "Doubtful data: tlft")
    assert page.count("data:image/jpeg;base64,") == 2
    assert "<script>alert" not in page
    assert html.escape(EVIL) in page
    assert "The label counts as wrong." in page
    assert "3 of 64 bits differ, mirrored" in page
    assert "1 pair of a training and an evaluation image" in page
    nothing = render_errors([Findings("photos", Search((), 90, 1, 0), None, ())], "Doubtful data: tlft")
    assert "near-duplicates were not looked for" in nothing


def test_command_looks_at_the_runs_of_mlflow(
    tmp_path: Path, configure: Configure, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([]) == 2
    assert "no runs in experiment tlft" in capsys.readouterr().err
    copies = {"val/bees/copy.jpg": scene(500), "train/bees/again.jpg": scene(1500)}
    root = folder_of(tmp_path / "scenes", copies)
    small = ("data=imagefolder", f"data.root={root}", "arch=timm", "arch.name=test_efficientnet", "model=scratch")
    for seed in (0, 1):
        run_experiment(configure(*small, "training.epochs=0", "head=task", f"seed={seed}"), f"data: {{root: {root}}}")
    out = tmp_path / "doubts.html"
    capsys.readouterr()
    assert main(["--out", str(out)]) == 0
    output = capsys.readouterr().out
    assert "scenes: " in output
    assert "val/bees/copy.jpg (eval) and train/ants/0.png (train): nearly the same" in output
    assert "1 pair of a training and an evaluation image, and 1 pair within a split" in output
    assert output.endswith(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB)\n")
    page = out.read_text()
    assert page.count("data:image/jpeg;base64,") >= 4
    assert main(["--out", str(tmp_path)]) == 2
    assert "is a folder; name a file in it" in capsys.readouterr().err
    older = Path(load_records("tlft", home=home)[0].artifacts.removeprefix("file://")) / "near_duplicates.json"
    older.unlink()
    assert main(["--out", str(out)]) == 0
    assert "1 pair of a training" in capsys.readouterr().out
