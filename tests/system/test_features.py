"""Whole commands whose frozen parts are computed once: the same runs as without, by any launcher."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import TINY_ARCH, run_py
from killing import gather

from tlft.tracking.reader import load_records

FOLDER = ("data=imagefolder", "threads=1")
PROBE = (*TINY_ARCH, "arch.name=test_resnet", "model=scratch", "training.trainable=head", "training.epochs=3")


def run(home: Path, folder: Path, *overrides: str) -> str:
    mode = ("-m",) if any(re.search(r"=\w+,|launcher", text) for text in overrides) else ()
    done = run_py(*mode, *FOLDER, f"data.root={folder}", *PROBE, *overrides, home=home)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def evidence(home: Path) -> dict[str, object]:
    """Return what each run has left, but for the one figure that says how it was computed."""
    left = {record.key: gather(record, home) for record in load_records("tlft", home=home) if record.key}
    for one in left.values():
        one.metrics.pop("time/features_seconds", None)
    return dict(left)


@pytest.mark.parametrize("overrides", [("seed=0,1",), ("training.trainable=1", "data.holdout_fraction=0.25")])
def test_runs_are_the_same_with_and_without(tmp_path: Path, tiny_folder: Path, overrides: tuple[str, ...]) -> None:
    run(tmp_path / "without", tiny_folder, *overrides, "features=off")
    run(tmp_path / "with", tiny_folder, *overrides)
    expected = evidence(tmp_path / "without")
    assert expected
    assert evidence(tmp_path / "with") == expected
    assert not (tmp_path / "without" / "cache" / "features").exists()


def test_the_run_key_does_not_change_and_a_run_repeats_itself_either_way(tmp_path: Path, tiny_folder: Path) -> None:
    run(tmp_path, tiny_folder)
    assert "done already" in run(tmp_path, tiny_folder, "features=off")
    (record,) = load_records("tlft", home=tmp_path)
    again = run_py(f"from_run={record.run_id}", "verify=true", "features=off", home=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr


def test_a_zero_shot_run_and_a_probe_share_what_the_network_says(tmp_path: Path, tiny_folder: Path) -> None:
    arguments = ("arch=efficientnet_lite0", "arch.name=tf_efficientnet_lite0", "model=pretrained")
    run(tmp_path, tiny_folder, *arguments, "training.epochs=1", "training.flip=false")
    store = tmp_path / "cache" / "features"
    shards = sorted(store.rglob("records.bin"))
    class_map = "data.class_map={ants:[310],bees:[309]}"
    run(tmp_path, tiny_folder, *arguments, "training.trainable=none", "head=imagenet1k", class_map)
    assert sorted(store.rglob("records.bin")) == shards


def test_jobs_beside_each_other_compute_once(tmp_path: Path, tiny_folder: Path) -> None:
    launcher = ("hydra/launcher=parallel", "hydra.launcher.jobs=2")
    run(tmp_path / "beside", tiny_folder, "seed=0,1,2", "optimizer.lr=0.1,0.01", *launcher)
    run(tmp_path / "alone", tiny_folder, "seed=0,1,2", "optimizer.lr=0.1,0.01")
    assert evidence(tmp_path / "beside") == evidence(tmp_path / "alone")
    sizes = [
        sum(path.stat().st_size for path in (tmp_path / name / "cache" / "features").rglob("records.bin"))
        for name in ("beside", "alone")
    ]
    assert abs(sizes[0] - sizes[1]) < 2000  # what differs is a header for each shard


@pytest.mark.parametrize("value", ["maybe", "true", "null"])
def test_another_value_is_refused_in_a_line(tmp_path: Path, value: str) -> None:
    done = run_py(f"features={value}", home=tmp_path)
    assert done.returncode == 2
    assert re.search(r"features[=:' ]", done.stderr)
    assert len(done.stderr.strip().splitlines()) <= 2
