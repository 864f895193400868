from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import Configure, draw_folder
from fabricated import plan_of

from tlft.config.paths import PROJECT
from tlft.data.dataset import Dataset
from tlft.data.splits import ImageFile
from tlft.duplicates import near_duplicates
from tlft.errors import TlftError
from tlft.models import weights
from tlft.pixels import pixel_store as decode
from tlft.planning.jobs import PlannedJob
from tlft.sweeps.prefetch import prefetch


@pytest.fixture
def plan(configure: Configure, tmp_path: Path) -> list[PlannedJob]:
    """Return a plan of two jobs on each of two folders."""
    roots = [draw_folder(tmp_path / name, train=count, evaluation=2) for name, count in (("one", 2), ("other", 3))]
    common = ("data=imagefolder", "arch=efficientnet_lite0", "experiment=from_scratch")
    return plan_of([configure(*common, f"data.root={root}", f"seed={seed}") for root in roots for seed in (0, 1)])


def test_images_are_decoded_once_for_all_jobs(plan: list[PlannedJob], monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []

    def count(files: Mapping[str, Path], *args: Any) -> None:
        decoded.append(len(files))
        _decode(files, *args)

    _decode = decode._decode
    monkeypatch.setattr(decode, "_decode", count)
    assert prefetch(plan) == {}
    assert decoded == [8, 2]  # the other folder holds the same images, and two more
    from tlft.data.batches import open_images

    known = plan[0].identity
    cache = plan[0].config.home / "cache"
    assert len(open_images(known.dataset, known.weights.transform, cache, "error", 1).train) == 4
    assert decoded == [8, 2]


def test_near_duplicates_are_found_once_for_all_jobs(plan: list[PlannedJob], monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[int] = []

    def count(dataset: Dataset, files: Sequence[ImageFile], *args: Any) -> list[near_duplicates.Pair]:
        searched.append(len(files))
        return _find(dataset, files, *args)

    _find = near_duplicates._find
    monkeypatch.setattr(near_duplicates, "_find", count)
    assert prefetch(plan) == {}
    assert searched == [8, 10]
    identity, cache = plan[0].identity, plan[0].config.home / "cache"
    decoded = decode.decode_images(identity.dataset.files, identity.weights.transform, cache / "decoded")
    near_duplicates.find_near_duplicates(identity.dataset, decoded, identity.weights.transform, cache)
    assert searched == [8, 10]


def test_jobs_without_what_they_need_are_named(plan: list[PlannedJob]) -> None:
    known = {image.sha256 for image in plan[0].identity.dataset.images}
    bad = next(image for image in plan[2].identity.dataset.images if image.sha256 not in known)
    bad.path.write_bytes(bad.path.read_bytes()[:100])
    failed = prefetch(plan)
    assert list(failed) == [2, 3]
    assert str(bad.path) in str(failed[2])
    assert failed[2] is failed[3]


def test_weights_are_fetched_once_and_first(
    configure: Configure, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    asked: list[str] = []

    def refuse(url: str, *args: object, **options: object) -> None:
        asked.append(url)
        raise TlftError(f"{url}: cannot be fetched")

    monkeypatch.setattr(weights, "fetch", refuse)
    common = ("data=imagefolder", f"data.root={tiny_folder}", "arch=resnet18")
    experiments = ("fine_tune", "linear_probe", "from_scratch")
    jobs = plan_of([configure(*common, f"experiment={name}") for name in experiments])
    assert list(prefetch(jobs)) == [0, 1]
    assert len(asked) == 1
    assert len(list((jobs[0].config.home / "cache" / "decoded").glob("*/*/records.bin"))) == 1


def test_a_sweep_imports_nothing_heavy_to_prefetch() -> None:
    asked = "import sys, tlft.sweeps.execute; print([m for m in ('torch', 'mlflow', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", asked], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
