"""Names that are no UTF-8, accents, and terminals that know ASCII alone: runs, tables and predictions are whole."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path

import pytest
from conftest import TINY_ARCH, draw_folder, run_py

from tlft import predict
from tlft.tracking.reader import ArtifactReader, load_records

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a file in Latin-1, and a class whose name the splits spell differently."""
    root = draw_folder(tmp_path_factory.mktemp("odd") / "insects", train=4, evaluation=3)
    (root / "val" / "ants" / "0.png").rename(root / "val" / "ants" / os.fsdecode(b"caf\xe9.png"))
    for split, name in (("train", "Bienen-Café"), ("val", unicodedata.normalize("NFD", "Bienen-Café"))):
        (root / split / "bees").rename(root / split / name)
    return root


def test_nothing_fails_where_only_ascii_can_be_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ("data=imagefolder", f"data.root={folder}", "model=scratch", "training.epochs=1", "threads=1", "device=cpu")
    done = run_py("-m", "seed=0", *TINY_ARCH, *small, home=tmp_path, env=ASCII, cold=True)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "Logging error" not in done.stderr
    (record,) = (record for record in load_records("tlft", home=tmp_path) if "arch.name" in record.params)
    frame = ArtifactReader(home=tmp_path).predictions([record])[record.run_id]
    assert set(frame["label"]) == {"ants", "Bienen-Café"}
    assert "val/ants/caf\\xe9.png" in set(frame["file"])
    monkeypatch.setenv("TLFT_HOME", str(tmp_path))
    assert predict.main([record.run_id, str(folder / "val"), "--format", "json"]) == 0
    labels = {answer["file"]: answer["label"] for answer in json.loads(capsys.readouterr().out)}
    assert labels[f"{folder}/val/ants/caf\\xe9.png"] == "ants"
    assert sorted(set(labels.values())) == ["Bienen-Café", "ants"]


def test_a_run_is_whole_in_a_home_whose_name_looks_like_an_address(folder: Path, tmp_path: Path) -> None:
    home = tmp_path / "job%2Fmain %20"  # as Jenkins makes them
    home.mkdir()
    small = ("data=imagefolder", f"data.root={folder}", "model=scratch", "training.epochs=1", "device=cpu")
    done = run_py(*TINY_ARCH, *small, home=home)
    assert done.returncode == 0, done.stderr
    (record,) = load_records("tlft", home=home)
    assert record.status == "FINISHED"
    assert len([*home.rglob("model.safetensors")]) == 2  # the run's, and the logged model's


@pytest.mark.parametrize("arguments", [(), ("-m", "seed=0,1")])
def test_a_path_that_is_no_utf8_is_one_line(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    odd = os.fsdecode(b"data.root=/photos/caf\xe9")
    done = run_py(*arguments, "data=imagefolder", odd, home=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert (
        line == r"data.root=/photos/caf\xe9: is no UTF-8; rename it, or make a link to it that has a plain name (ln -s)"
    )
