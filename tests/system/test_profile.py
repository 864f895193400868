"""`profile=true` keeps where the time of a few steps went, and changes no bit of a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import TINY_ARCH, Configure

from tlft.names import Artifact, Metric
from tlft.runs.experiment import run_experiment
from tlft.tracking.reader import ArtifactReader, load_records


def test_a_profile_is_among_the_files_and_changes_no_bit(home: Path, tiny_folder: Path, configure: Configure) -> None:
    given = ("data=imagefolder", f"data.root={tiny_folder}", *TINY_ARCH, "model=scratch", "training.epochs=2")
    batches = "training.batch_size=4"
    plain = run_experiment(configure(*given, batches))
    profiled = run_experiment(configure(*given, batches, "profile=true", "force=true"))
    assert plain.metrics[Metric.ACCURACY] == profiled.metrics[Metric.ACCURACY]
    assert plain.metrics[Metric.LOSS] == profiled.metrics[Metric.LOSS]
    reader = ArtifactReader(home=home)
    records = {record.run_id: record for record in load_records("tlft", home=home)}
    assert records[plain.run_id].key == records[profiled.run_id].key
    assert "forward" in (reader.text(records[profiled.run_id], Artifact.PROFILE) or "")
    assert {Artifact.PROFILE, Artifact.TRACE} <= records[profiled.run_id].files.keys()
    assert not {Artifact.PROFILE, Artifact.TRACE} & records[plain.run_id].files.keys()


def test_what_cannot_be_profiled_is_said(
    tiny_folder: Path, configure: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    given = ("data=imagefolder", f"data.root={tiny_folder}", *TINY_ARCH, "model=scratch", "profile=true")
    with caplog.at_level("INFO"):
        run_experiment(configure(*given, "training.epochs=0"))
        run_experiment(configure(*given, "training.epochs=1"))
    assert "profile=true: nothing is trained" in caplog.text
    assert "profile=true: there were too few training steps to profile" in caplog.text
