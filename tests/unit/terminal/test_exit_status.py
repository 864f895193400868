"""What is printed reaches every terminal and pipe."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tlft.config.paths import PROJECT
from tlft.terminal.command_line import exit_status

TEXT = "95.4 ± 0.3 % of café, 猫 and 🐝, " + os.fsdecode(b"caf\xe9")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_letters_that_an_encoding_lacks_are_spelled(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    stream = io.TextIOWrapper(buffer, encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    assert exit_status(lambda: print(json.dumps([TEXT], ensure_ascii=False)) or 0) == 0
    stream.flush()
    text = buffer.getvalue().decode(encoding)
    assert json.loads(text) == [TEXT if encoding != "ascii" else TEXT.replace("±", "+/-")]


def test_what_every_terminal_has_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status(lambda: print("95.4 ± 0.3 % of café") or 0) == 0
    assert capsys.readouterr().out == "95.4 ± 0.3 % of café\n"


def test_ctrl_c_is_one_line_and_the_status_of_a_shell(tmp_path: Path) -> None:
    """`python -m` ends by the signal where code that was compiled from text was interrupted, whatever is made of it."""
    program = """\
import sys
from tlft.terminal.command_line import exit_status
sys.exit(exit_status(lambda: exec("raise KeyboardInterrupt")))
"""
    (tmp_path / "interrupted_program.py").write_text(program)
    command = [sys.executable, "-m", "interrupted_program"]
    done = subprocess.run(
        command, cwd=PROJECT, env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")
