"""A profile of a few steps says where their time went, and changes nothing of them."""

from __future__ import annotations

import gzip
import json
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from tlft.training.step_profile import PASSED, PHASES, PROFILED, StepProfile, _describe_phases, phase


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
    shares = [float(line.split()[3]) for line in profile.table.splitlines() if line.endswith(" %")]
    assert len(shares) == len(PHASES) + 1 and min(shares) >= 0
    assert sum(shares) == pytest.approx(100, abs=0.3)  # as they are rounded
    assert "aten::addmm" in profile.table
    events = json.loads(gzip.decompress(profile.trace))["traceEvents"]
    names = [event.get("name") for event in events]
    assert names.count("tlft: forward") == names.count("tlft: backward") == PROFILED
    assert any(event.get("ph") == "X" for event in events)


def test_shares_are_of_the_whole_step_and_the_last_is_what_lies_between() -> None:
    microseconds = {"tlft: batch": 300, "tlft: forward": 6000, "tlft: backward": 9000, "tlft: optimizer": 2700}
    events = [*microseconds.items(), ("tlft: forward", 0), ("aten::addmm", 5000), ("ProfilerStep*", 30_000)]
    averages = [SimpleNamespace(key=key, cpu_time_total=total) for key, total in events]
    assert [line.split() for line in _describe_phases(averages).splitlines()[2:]] == [
        ["batch", "0.10", "ms", "1.0", "%"],
        ["forward", "2.00", "ms", "20.0", "%"],
        ["backward", "3.00", "ms", "30.0", "%"],
        ["optimizer", "0.90", "ms", "9.0", "%"],
        ["between", "4.00", "ms", "40.0", "%"],
    ]


def test_too_few_steps_leave_no_profile() -> None:
    profile = StepProfile(torch.device("cpu"))
    train(profile, PASSED + PROFILED - 2)
    assert (profile.table, profile.trace) == ("", b"")
