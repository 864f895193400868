"""Optimizers by name, the rate of each part of a network, and in which order images are drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import Configure
from test_checkpoint import KilledError, run, same
from torch import nn

from tlft.config.recipe_schema import StepConfig, TorchConfig
from tlft.errors import ConfigurationError
from tlft.models.network import build_network
from tlft.training import algorithms
from tlft.training.drawing import draw_order
from tlft.training.optimizer import build_optimizer, learning_rate, learning_rate_shares, try_optimizer

REFUSED = {
    *("LBFGS", "SparseAdam", "Muon", "adahessian"),  # are called in another way, or take matrices alone
    *("kron", "kronw", "kronc"),  # keep more than tensors and numbers
}
FOR_GPUS = {
    *("fusedsgd", "fusedadam", "fusedadamw", "fusedlamb", "fusednovograd"),
    *("bnbsgd", "bnbsgd8bit", "bnbadam", "bnbadam8bit", "bnbadamw", "bnbadamw8bit"),
}
"""Of packages that timm has optimizers of where they are installed, for GPUs alone."""


def named(algorithm: str, **more: object) -> TorchConfig:
    return TorchConfig(lr=0.01, algorithm=algorithm, **more)  # type: ignore[arg-type]


def test_every_optimizer_of_the_libraries_is_found_without_importing_them() -> None:
    import timm.optim

    classes = {name: kind for name, kind in vars(torch.optim).items() if isinstance(kind, type)}
    optimizers = {name for name, kind in classes.items() if issubclass(kind, torch.optim.Optimizer)}
    assert set(algorithms._of_torch()) == optimizers - {"Optimizer"}
    for name in timm.optim.list_optimizers():
        assert algorithms.find_problems(named(name)) == []
    assert len(algorithms._of_timm()) > 50


@pytest.mark.parametrize("algorithm", [*algorithms._of_torch(), *algorithms._of_timm()])
def test_killed_an_optimizer_goes_on_to_the_same_bits_or_is_refused(
    configure: Configure, tmp_path_factory: pytest.TempPathFactory, algorithm: str
) -> None:
    small = ("training.epochs=2", "training.batch_size=4", "optimizer.lr=0.001", "training.decay_norms=false")
    config = configure("optimizer=torch", f"optimizer.algorithm={algorithm}", *small)
    try:
        try_optimizer(config.optimizer)
    except ConfigurationError as error:
        assert algorithm in str(error)
        assert algorithm in REFUSED | FOR_GPUS
        return
    assert algorithm not in REFUSED
    folder = tmp_path_factory.mktemp("killed")
    undisturbed, _ = run(config, folder / "undisturbed")
    with pytest.raises(KilledError):
        run(config, folder / "killed", 4)
    resumed, _ = run(config, folder / "killed")
    assert same(undisturbed, resumed)


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (named("NAdan"), "optimizer.algorithm=NAdan: neither torch.optim nor timm has it; did you mean NAdam?"),
        (named("NAdam", options="x"), "optimizer.options=x: write {name:value,...}"),
        (named("NAdam", options={"lr": 1.0}), "optimizer.options: lr is a key of its own; give optimizer.lr=..."),
    ],
)
def test_a_wrong_name_or_option_is_one_line(config: TorchConfig, problem: str) -> None:
    (said,) = algorithms.find_problems(config)
    assert said.startswith(problem)


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (
            named("NAdam", options={"moment": 1}),
            "cannot be used with these options (NAdam.__init__() got an unexpected",
        ),
        (named("LBFGS"), "cannot be used with these options"),
        (named("Rprop", weight_decay=0.1), "cannot be used with these options"),
    ],
)
def test_what_an_optimizer_does_not_take_is_one_line(config: TorchConfig, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^optimizer.algorithm={config.algorithm}: ") as raised:
        try_optimizer(config)
    assert problem in str(raised.value)
    assert "\n" not in str(raised.value)


def test_each_stage_has_a_share_of_the_rate_of_the_next(configure: Configure) -> None:
    config = configure("training.layer_decay=0.5", "training.backbone_lr=0.8", "optimizer.lr=1.0")
    model = build_network("torchvision", "resnet18")
    shares = learning_rate_shares(config, model, dict(model.named_parameters()))
    named_shares = {name.partition(".")[0]: share for name, share in shares.items()}
    expected = {"fc": 1.0, "layer4": 0.4, "layer3": 0.2, "layer2": 0.1, "layer1": 0.05, "conv1": 0.025, "bn1": 0.025}
    assert named_shares == pytest.approx(expected)
    optimizer = build_optimizer(config, model)
    assert optimizer is not None
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(shares)


def test_what_belongs_to_no_stage_has_the_rate_of_the_first(configure: Configure) -> None:
    config = configure("training.layer_decay=0.5")
    model = build_network("timm", "test_vit")
    shares = learning_rate_shares(config, model, dict(model.named_parameters()))
    assert shares["pos_embed"] == shares["cls_token"] == min(shares.values())
    assert shares["head.weight"] == 1.0


def test_the_rate_falls_as_pytorchs_scheduler_lets_it() -> None:
    schedule = StepConfig(step_epochs=2, gamma=0.3)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5)
    theirs = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.3)
    for epoch in range(7):
        ours = [learning_rate(schedule, 0.5, 3 * epoch + step, 3, 21) for step in range(3)]
        assert ours == pytest.approx([optimizer.param_groups[0]["lr"]] * 3)
        optimizer.step()
        theirs.step()


def test_a_balanced_sampler_draws_all_classes_alike(configure: Configure) -> None:
    labels = np.repeat([0, 1, 2], [900, 90, 10])
    config = configure("data.sampler=balanced")
    orders = [draw_order(config, epoch, labels) for epoch in range(20)]
    counts = np.bincount(labels[np.concatenate(orders)]) / 20_000
    assert counts == pytest.approx([1 / 3] * 3, abs=0.02)
    assert np.array_equal(orders[0], draw_order(config, 0, labels))
    assert not np.array_equal(orders[0], orders[1])
    assert sorted(draw_order(configure(), 0, labels)) == [*range(1000)]
