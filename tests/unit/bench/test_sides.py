from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from conftest import Configure, needs_photographs
from fabricated import scene
from PIL import Image

from bench.photographs import JPEG_BYTES, copy_photographs, count_training, write_jpegs
from bench.processes import run, side, told_time, whole_time
from bench.sides.epochs import EpochClock, network
from bench.sides.tutorial import dataset_of, train
from bench.tables import multiply_runs
from tlft.errors import TlftError
from tlft.storage.files import sha256_of
from tlft.tracking.claimed_run import claim_run
from tlft.tracking.reader import load_records
from tlft.tracking.store import Store


def test_an_epoch_goes_from_the_end_of_its_first_step_to_that_of_the_next_first_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = iter([3.0, 5.0, 8.0, 12.0, 17.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(times))
    clock = EpochClock(244)
    assert clock.steps == 5
    assert [clock.end_step() for _ in range(5)] == [False] * 4 + [True]
    assert clock.seconds() == 14


def test_a_process_tells_its_seconds_in_its_last_line_and_why_it_failed(tmp_path: Path) -> None:
    say = "import bench.sides.telling as t; print('an epoch', end=''); t.say(1.5)"
    assert told_time([sys.executable, "-c", say], tmp_path) == 1.5
    assert whole_time([sys.executable, "-c", "pass"], tmp_path) > 0
    with pytest.raises(TlftError, match=r"ended with 1: ValueError: no$"):
        run([sys.executable, "-c", "raise ValueError('no')"], tmp_path)
    assert side("decoding", Path("a"), 2)[1:] == ["-m", "bench.sides.decoding", "a", "2"]


@needs_photographs
def test_photographs_are_copied_without_what_else_lies_there(tmp_path: Path) -> None:
    assert count_training(copy_photographs(tmp_path / "all")) == 244
    few = copy_photographs(tmp_path / "few", 3, training=2)
    assert count_training(few) == 4 and len(list(few.rglob("*.jpg"))) == 10


def test_many_jpegs_show_the_same_and_none_has_the_bytes_of_another(tmp_path: Path) -> None:
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for seed, name in enumerate(("a.jpg", "b.jpeg")):
        scene(seed, (900, 700)).save(photographs / name, quality=95)
    write_jpegs(photographs, tmp_path / "jpegs", 5)
    files = sorted((tmp_path / "jpegs").iterdir())
    assert len(files) == 5 == len({sha256_of(path) for path in files})
    assert all(path.stat().st_size <= JPEG_BYTES + 12 for path in files)
    assert Image.open(files[0]).tobytes() == Image.open(files[2]).tobytes()


def test_where_there_are_no_photographs_a_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLFT_HYMENOPTERA", str(tmp_path / "gone"))
    with pytest.raises(TlftError, match="no reference photographs; set TLFT_HYMENOPTERA"):
        copy_photographs(tmp_path / "to")


def test_the_tutorials_loop_trains_on_batches_of_all_images(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = dataset_of(str(tiny_folder))
    assert len(dataset) == 16  # type: ignore[arg-type]
    assert [int(label) for _, label in dataset_of(str(tiny_folder), 4)] == [0, 0, 1, 1]  # type: ignore[attr-defined]
    monkeypatch.setattr("bench.sides.tutorial.BATCH_SIZE", 8)
    monkeypatch.setattr("bench.sides.epochs.BATCH_SIZE", 8)
    assert train(network("efficientnet_lite0"), dataset, workers=0) > 0


def test_copies_of_runs_are_read_as_runs_of_other_seeds_and_rates(configure: Configure) -> None:
    config = configure()
    store = Store(config)
    with claim_run(store, "a" * 64) as claim:
        params = {"training.epochs": "1", "seed": "0", "optimizer.lr": "0.01"}
        with claim.start("a run", params, {}) as active:
            active.log_inputs("insects", "somewhere", {"train": "b" * 64})
            with active.writing_files() as folder:
                (folder / "predictions.parquet").write_bytes(b"predictions")
            active.log_metrics({"eval/accuracy": 0.5}, step=1)
    multiply_runs(config.home, 12)
    records = load_records("tlft", home=config.home)
    assert len(records) == 12 == len({record.key for record in records}) == len({r.run_id for r in records})
    assert {record.metrics["eval/accuracy"] for record in records} == {0.5}
    assert len({(r.params["seed"], r.params["optimizer.lr"]) for r in records}) == 12
    files = [Path(record.artifacts.removeprefix("file://")) / "predictions.parquet" for record in records]
    assert {path.read_bytes() for path in files} == {b"predictions"} and len({*files}) == 12
    with closing(sqlite3.connect(config.home / "mlflow.db")) as database:
        assert database.execute("pragma foreign_key_check").fetchall() == []
        assert database.execute("select count(*) from inputs").fetchone() == (12,)
