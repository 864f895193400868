"""The optimizer that a configuration names, and the learning rate of each step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from tlft.config.recipe_schema import AdamConfig, OptimizerConfig, ScheduleConfig, SgdConfig


def build_optimizer(
    config: OptimizerConfig, parameters: Sequence[nn.Parameter], *, decay_norms: bool = True
) -> torch.optim.Optimizer:
    """Build the optimizer that the configuration names.

    Without `decay_norms` weight decay leaves parameters of one dimension alone: those of norms, and biases (He et al.
    2019, Bag of tricks for image classification with convolutional neural networks, 3.1).
    """
    groups: Any = list(parameters)
    if config.weight_decay and not decay_norms:
        by_kind = ([p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1])
        settings: tuple[dict[str, float], ...] = ({}, {"weight_decay": 0.0})
        groups = [{"params": kind, **its} for kind, its in zip(by_kind, settings, strict=True) if kind]
    lr, weight_decay = config.lr, config.weight_decay
    if isinstance(config, SgdConfig):
        momentum, nesterov = config.momentum, config.nesterov
        return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)
    assert isinstance(config, AdamConfig)
    optimizer = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    betas = (config.beta1, config.beta2)
    return optimizer(groups, lr=lr, betas=betas, eps=config.eps, weight_decay=weight_decay)


def learning_rate(schedule: ScheduleConfig, lr: float, step: int, steps_per_epoch: int, steps: int) -> float:
    """Return the learning rate of a step, counted from 0.

    Linear warm-up reaches `lr` at its last step; the cosine (Loshchilov and Hutter 2017, SGDR, eq. 5, one cycle)
    falls from `lr` to zero over the steps after it.
    """
    warmup = round(schedule.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return lr * (step + 1) / warmup
    if schedule.name == "cosine":
        return lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))
    return lr
