"""What is seen of jobs in other processes while they run."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from rich.console import Console

from tlft.sweeps.launchers import monitor as live_module
from tlft.sweeps.launchers.monitor import Monitor
from tlft.terminal.progress import bars


@pytest.fixture
def folders(tmp_path: Path) -> dict[int, Path]:
    told = {"description": "resnet18 s0", "total": 100, "unit": "images", "done": 40, "note": "epoch 1/2", "rate": 0.5}
    for number in (0, 1):
        (tmp_path / str(number)).mkdir()
    (tmp_path / "0" / "progress.json").write_text(json.dumps(told))
    (tmp_path / "1" / "progress.json").write_text("{")  # torn: as if it had not begun
    return {0: tmp_path / "0", 1: tmp_path / "1"}


def test_a_log_gets_a_plain_line_for_each_job_that_runs(
    folders: dict[int, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(live_module, "_SECONDS_BETWEEN_LINES", 0.0)
    with caplog.at_level(logging.INFO):
        Monitor(None).look(folders)
    assert caplog.messages == ["job 0: resnet18 s0: 40 of 100 images, epoch 1/2, 0.5 images/s, 2 min left"]


def test_a_terminal_gets_a_moving_line_for_each_job_that_runs(folders: dict[int, Path]) -> None:
    shown = bars()
    lines = Monitor(shown)
    lines.look(folders)
    (task,) = shown.tasks
    assert (task.description, task.completed, task.total) == ("job 0: resnet18 s0", 40, 100)
    console = Console(width=120, record=True)
    console.print(shown.get_renderable())
    assert "40/100 images" in console.export_text()
    lines.look({})
    assert shown.tasks == []
