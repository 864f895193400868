"""A profile of a few steps says where their time went, and changes nothing of them."""

from __future__ import annotations

import gzip
import json

import torch
from torch import nn

from tlft.training.step_profile import PASSED, PHASES, PROFILED, StepProfile, phase


def train(profile: StepProfile, steps: int) -> None:
    model = nn.Linear(8, 8)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with profile:
        for _ in range(steps):
            with phase("forward"):
                loss = model(torch.ones(4, 8)).sum()
            with phase("backward"):
                loss.backward()
            with phase("optimizer"):
                optimizer.step()
            profile.step()


def test_three_steps_are_profiled_with_their_phases() -> None:
    profile = StepProfile(torch.device("cpu"))
    train(profile, 12)
    for name in PHASES:
        assert f"\n{name} " in profile.table
    assert "aten::addmm" in profile.table
    events = json.loads(gzip.decompress(profile.trace))["traceEvents"]
    names = [event.get("name") for event in events]
    assert names.count("tlft: forward") == names.count("tlft: backward") == PROFILED
    assert any(event.get("ph") == "X" for event in events)


def test_too_few_steps_leave_no_profile() -> None:
    profile = StepProfile(torch.device("cpu"))
    train(profile, PASSED + PROFILED - 2)
    assert (profile.table, profile.trace) == ("", b"")
