"""What each rung between random and pretrained weights keeps, and what it does not."""

from __future__ import annotations

import pytest
import torch
from conftest import Configure
from networks import State, build, differing

from tlft.errors import ConfigurationError

ARCH = ("arch=efficientnet_lite0", "head=task")


def state_of(configure: Configure, *overrides: str) -> State:
    state: State = build(configure(*ARCH, *overrides)).state_dict()
    return state


def parameters_of(state: State) -> State:
    """Return the backbone's parameters that are more than a number."""
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    return {
        name: tensor
        for name, tensor in state.items()
        if not name.endswith(statistics) and not name.startswith("classifier")
    }


@pytest.mark.parametrize("model", ["moments", "shuffled"])
def test_a_rung_is_drawn_from_the_seed_and_has_new_statistics(configure: Configure, model: str) -> None:
    first, again = (state_of(configure, f"model={model}", "seed=3") for _ in range(2))
    assert differing(first, again) == set()
    other = state_of(configure, f"model={model}", "seed=4")
    assert set(parameters_of(first)) <= differing(first, other)
    scratch = state_of(configure, "model=scratch", "seed=3")
    same = set(first) - differing(first, scratch)
    assert {name for name in first if name.endswith(("running_mean", "running_var"))} <= same
    assert {"classifier.weight", "classifier.bias"} <= same


def test_moments_are_those_of_each_pretrained_tensor(configure: Configure) -> None:
    drawn, pretrained = (parameters_of(state_of(configure, f"model={name}")) for name in ("moments", "pretrained"))
    for name, tensor in pretrained.items():
        if tensor.numel() > 2000:
            mean, deviation = float(tensor.mean()), float(tensor.std())
            assert float(drawn[name].mean()) == pytest.approx(mean, abs=5 * deviation / tensor.numel() ** 0.5)
            assert float(drawn[name].std()) == pytest.approx(deviation, rel=0.1)
        assert not torch.equal(drawn[name], tensor)


def test_shuffled_values_are_those_of_each_pretrained_tensor(configure: Configure) -> None:
    drawn, pretrained = (parameters_of(state_of(configure, f"model={name}")) for name in ("shuffled", "pretrained"))
    for name, tensor in pretrained.items():
        assert torch.equal(drawn[name].flatten().sort().values, tensor.flatten().sort().values)
    moved = [name for name, tensor in pretrained.items() if not torch.equal(drawn[name], tensor)]
    assert len(moved) == len(pretrained)


def test_the_first_stages_are_pretrained_and_the_rest_is_that_of_scratch(configure: Configure) -> None:
    mixed = state_of(configure, "model.stages=2", "seed=5")
    pretrained, scratch = (state_of(configure, f"model={name}", "seed=5") for name in ("pretrained", "scratch"))
    from_scratch = set(mixed) - differing(mixed, scratch)
    from_pretraining = set(mixed) - differing(mixed, pretrained)
    assert from_scratch | from_pretraining == set(mixed)
    assert {"conv_stem.weight", "bn1.running_mean", "blocks.0.0.conv_dw.weight"} <= from_pretraining
    assert {"blocks.1.0.conv_dw.weight", "conv_head.weight", "bn2.running_mean"} <= from_scratch


@pytest.mark.parametrize(("count", "model"), [(0, "scratch"), (9, "pretrained")])
def test_no_stage_is_scratch_and_all_are_the_pretrained_network(configure: Configure, count: int, model: str) -> None:
    assert differing(state_of(configure, f"model.stages={count}"), state_of(configure, f"model={model}")) == set()


def test_more_stages_than_there_are_is_one_line(configure: Configure) -> None:
    with pytest.raises(ConfigurationError, match=r"model\.stages=40: the backbone has \d+ stages; give at most that"):
        build(configure(*ARCH, "model.stages=40"))
