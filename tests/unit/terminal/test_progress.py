"""How far a process has come, as other processes read it."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from rich.console import Console

from tlft.terminal import progress as progress_module
from tlft.terminal.progress import ConsoleHandler, overall_progress, progress


def test_a_process_leaves_word_of_how_far_it_has_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "_progress_file", tmp_path / "progress.json")
    with progress("training", 10, "images", done=2) as advance:
        advance(3, note="epoch 1/2, loss 0.5")
        told = json.loads((tmp_path / "progress.json").read_text())
        assert told.pop("rate") > 0
        assert told == {
            "description": "training",
            "total": 10,
            "unit": "images",
            "done": 5,
            "note": "epoch 1/2, loss 0.5",
        }
    assert list(tmp_path.iterdir()) == []


def test_what_goes_well_is_in_a_log_of_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("tests.console")
    handler = ConsoleHandler()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.info("done: accuracy 95 %")
    logger.warning("beware")
    logger.removeHandler(handler)
    assert capfd.readouterr() == ("done: accuracy 95 %\n", "beware\n")


@pytest.mark.parametrize(("variable", "shown"), [({"NO_COLOR": "1", "TERM": "xterm"}, True), ({"TERM": "dumb"}, False)])
def test_no_color_takes_colours_and_not_the_bar(
    variable: dict[str, str], shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variable.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert progress_module.on_terminal() is shown


@pytest.mark.parametrize("width", [60, 80])
def test_a_narrow_terminal_cuts_the_name_alone(width: int) -> None:
    shown = progress_module.bars()
    name = "efficientnet_lite0 pretrained task sgd s0"
    shown.add_task(name, total=732, completed=64, note="epoch 1/3, loss 0.6915", unit="images")
    console = Console(width=width, record=True)
    console.print(shown.get_renderable())
    (line,) = console.export_text().splitlines()
    assert "64/732 images" in line
    assert "epoch 1/3, loss 0.6915" in line
    assert "…" in line
    assert len(line) <= width


def test_the_whole_is_shown_above_its_parts(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), overall_progress("sweep", 3, "jobs") as show:
        show(1, lambda seconds: "about 19 s left" if seconds is None else f"{seconds:.0f} s")
        assert progress_module._overall is not None
        assert progress_module._overall[:4] == ("sweep", 1, 3, "jobs")
        assert [progress_module._overall[4](seconds) for seconds in (None, 7.0)] == ["about 19 s left", "7 s"]
    assert progress_module._overall is None
    assert caplog.messages == ["sweep: 1 of 3 jobs, about 19 s left"]


def test_a_folder_that_is_gone_stops_no_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "_progress_file", tmp_path / "gone" / "progress.json")
    with progress("training", 10, "images") as advance:
        advance(3)
    assert list(tmp_path.iterdir()) == []
