"""The command that shows the table."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from fabricated import ENDINGS, golden_records

from analysis.comparison_table import build_table
from analysis.render import FORMATS, render
from analysis.table import main
from tlft.config.paths import PROJECT
from tlft.errors import TlftError
from tlft.records.record import Record


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command find the checked-in records."""

    def load(experiment: str, uri: str | None = None, home: Path | None = None) -> list[Record]:
        if uri == "broken":
            raise TlftError("the server does not answer")
        return golden_records() if experiment == "tlft" else []

    monkeypatch.setattr("analysis.query.load_records", load)


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    ("command", "status", "messages"),
    [
        ("--experiment other", 2, ["no runs in experiment other", "run.py sweep=comparison", "make demo"]),
        ("--metric eval/acuracy", 2, ["--metric eval/acuracy", "did you mean eval/accuracy?"]),
        ("--data hymenopter", 2, ["--data hymenopter", "did you mean hymenoptera?"]),
        ("--data x --arch resnet5", 2, ["--data x", "there are hymenoptera", "did you mean resnet50?"]),
        ("--published --metric eval/loss", 2, ["--published --metric eval/loss", "eval/accuracy"]),
        ("--metric train/accuracy --arch efficientnet_lite0", 2, ["no run to show; left out: without train/accuracy"]),
        ("--uri broken", 1, ["failed: the server does not answer"]),
    ],
)
def test_mistake_is_a_line_on_standard_error(
    command: str, status: int, messages: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command.split()) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == (2 if "--data x" in command else 1)
    for message in messages:
        assert message in captured.err


@pytest.mark.usefixtures("stored")
def test_command_prints_what_the_function_renders(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--published", "--stats", "none", "--format", "markdown"]) == 0
    command = "python -m analysis.table --published --stats none --format markdown"
    expected = render(build_table(golden_records(), published=True, command=command), "markdown")
    assert capsys.readouterr().out == expected + "\n"


@pytest.mark.usefixtures("stored")
def test_figures_alone_say_the_rest_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--format", "csv"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("data,arch,recipe,zero_shot_accuracy")
    assert "failed (1)" in captured.err


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("format", FORMATS)
def test_ending_of_the_file_says_the_format(tmp_path: Path, format: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / f"table.{ENDINGS[format]}"
    assert main(["--columns", "all", "--out", str(out)]) == 0
    assert main(["--columns", "all", "--out", str(tmp_path / "table"), "--format", format]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"wrote {out}" in captured.err
    texts = [path.read_text(encoding="utf-8") for path in (out, tmp_path / "table")]
    before_the_command = [re.split(r'Made by|"command"', text)[0] for text in texts]
    assert before_the_command[0] == before_the_command[1]
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_importing_the_table_imports_neither_mlflow_nor_torch() -> None:
    code = "import sys, analysis.table; print([m for m in ('mlflow', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
