"""What is printed reaches every terminal and pipe."""

from __future__ import annotations

import io
import json
import os
import sys

import pytest

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
