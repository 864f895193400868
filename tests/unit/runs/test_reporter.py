from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from conftest import Configure
from tiny_network import TinyClassifier

from tlft.runs import reporter
from tlft.training.checkpoint import Checkpoints
from tlft.training.loop import TrainingState


def test_memory_is_looked_at_after_each_step(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    monkeypatch.setattr(reporter, "bound_freed", lambda: looks.append(1))
    context = cast(Any, SimpleNamespace(config=configure(), profile=None, run=SimpleNamespace(confirm=lambda: None)))
    hearing = reporter.Reporter(context, Checkpoints(tmp_path, "key"))
    hearing._advance = lambda n, note: None
    for _ in range(2):
        hearing.step(4, 0.5, TinyClassifier(), TrainingState(None))
    assert len(looks) == 2
