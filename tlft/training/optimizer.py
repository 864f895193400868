"""The optimizer that a configuration names, which rate each part of the network has, and that of each step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from tlft.config.recipe_schema import AdamConfig, OptimizerConfig, ScheduleConfig, SgdConfig, StepConfig, TorchConfig
from tlft.config.schema import Config
from tlft.errors import ConfigurationError, one_line
from tlft.models.freeze import stages
from tlft.models.head import head_names

SHARE = "lr_share"
"""Of a group of parameters: its learning rate, as a share of the step's."""

Groups = Iterable[nn.Parameter] | Iterable[dict[str, Any]]


def build_optimizer(config: Config, model: nn.Module) -> torch.optim.Optimizer | None:
    """Build the optimizer of what is trained of a network, in groups of one rate and decay each; None of nothing."""
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    return _build(config.optimizer, _groups(config, model, trained)) if trained else None


def _groups(config: Config, model: nn.Module, trained: Mapping[str, nn.Parameter]) -> Groups:
    """Return the parameters; in groups where they differ in their learning rates or decay.

    Without `training.decay_norms` weight decay leaves parameters of one dimension alone: those of norms, and biases (He
    et al. 2019, Bag of tricks for image classification with convolutional neural networks, 3.1).
    """
    spared = bool(config.optimizer.weight_decay) and not config.training.decay_norms
    shares = learning_rate_shares(config, model, trained)
    if not spared and set(shares.values()) == {1.0}:
        return list(trained.values())
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in trained.items():
        groups.setdefault((shares[name], spared and parameter.ndim <= 1), []).append(parameter)
    return [
        {"params": parameters, SHARE: share, **({"weight_decay": 0.0} if is_spared else {})}
        for (share, is_spared), parameters in groups.items()
    ]


def learning_rate_shares(config: Config, model: nn.Module, names: Iterable[str]) -> dict[str, float]:
    """Return the learning rate of each parameter, as a share of the head's, which is `optimizer.lr`.

    The backbone has `training.backbone_lr`, and each of its stages, counted from the head, `training.layer_decay` of
    that of the one before (Clark et al. 2020, ELECTRA, 3.1); what belongs to no stage, such as the embedding of
    positions, is taken for the first.
    """
    backbone, decay = config.training.backbone_lr, config.training.layer_decay
    if backbone == decay == 1.0:
        return dict.fromkeys(names, 1.0)
    heads, ordered = tuple(f"{name}." for name in head_names(model)), stages(model)
    depth = {f"{name}.": len(ordered) - index for index, stage in enumerate(ordered) for name in stage}

    def share(name: str) -> float:
        if name.startswith(heads):
            return 1.0
        distance = next((its for prefix, its in depth.items() if name.startswith(prefix)), max(len(ordered), 1))
        return float(backbone * decay**distance)

    return {name: share(name) for name in names}


def _build(config: OptimizerConfig, groups: Groups) -> torch.optim.Optimizer:
    lr, weight_decay = config.lr, config.weight_decay
    if isinstance(config, TorchConfig):
        return _build_by_name(config, groups)
    if isinstance(config, SgdConfig):
        momentum, nesterov = config.momentum, config.nesterov
        return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)
    assert isinstance(config, AdamConfig)
    optimizer = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    betas = (config.beta1, config.beta2)
    return optimizer(groups, lr=lr, betas=betas, eps=config.eps, weight_decay=weight_decay)


def _build_by_name(config: TorchConfig, groups: Groups) -> torch.optim.Optimizer:
    options: dict[str, Any] = {"lr": config.lr, **(config.options or {})}
    if (algorithm := getattr(torch.optim, config.algorithm, None)) is not None:
        if config.weight_decay:  # which some do not take
            options["weight_decay"] = config.weight_decay
        built: torch.optim.Optimizer = algorithm(groups, **options)
        return built
    import timm.optim

    create: Any = timm.optim.create_optimizer_v2
    by_timm: torch.optim.Optimizer = create(groups, config.algorithm, weight_decay=config.weight_decay, **options)
    return by_timm


def try_optimizer(config: OptimizerConfig) -> None:
    """Raise ConfigurationError if an optimizer of any name cannot be had, or does not take steps as others do."""
    if not isinstance(config, TorchConfig):
        return
    parameters = [nn.Parameter(torch.ones(shape)) for shape in ((3, 2, 1, 1), (3,))]
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    try:
        with torch.random.fork_rng(devices=[]):
            optimizer = _build(config, parameters)
            optimizer.step()
    except Exception as error:  # whatever its code raises
        raise ConfigurationError(
            f"optimizer.algorithm={config.algorithm}: cannot be used with these options ({one_line(error)}); mend "
            "optimizer.options, or choose another"
        ) from None
    plain = (torch.Tensor, int, float, str, type(None))
    if not all(isinstance(value, plain) for state in optimizer.state.values() for value in state.values()):
        raise ConfigurationError(
            f"optimizer.algorithm={config.algorithm}: keeps more than a checkpoint can hold, so that no run could go "
            "on with it; choose another"
        )
    if callable(getattr(optimizer, "train", None)):
        raise ConfigurationError(
            f"optimizer.algorithm={config.algorithm}: wants to know when a network is evaluated; choose another, with "
            "schedule=constant and training.ema to the same effect"
        )


def learning_rate(schedule: ScheduleConfig, lr: float, step: int, steps_per_epoch: int, steps: int) -> float:
    """Return the learning rate of a step, counted from 0.

    Linear warm-up reaches `lr` at its last step; after it the cosine (Loshchilov and Hutter 2017, SGDR, eq. 5, one
    cycle) falls from `lr` to zero, and a schedule of steps by a factor at the ends of so many epochs.
    """
    warmup = round(schedule.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return lr * (step + 1) / warmup
    if schedule.name == "cosine":
        return lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))
    if isinstance(schedule, StepConfig):
        return float(lr * schedule.gamma ** ((step - warmup) // (schedule.step_epochs * steps_per_epoch)))
    return lr
