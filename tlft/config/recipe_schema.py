"""The part of the schema that says how a network is trained (see schema.py)."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING


@dataclass
class OptimizerConfig:
    """What minimises the loss.

    Attributes:
        lr: learning rate.
        weight_decay: coefficient of the weights' squares (adamw: decoupled from the gradient).
    """

    name: str = MISSING
    lr: float = MISSING
    weight_decay: float = 0.0


@dataclass
class SgdConfig(OptimizerConfig):
    """Stochastic gradient descent (`torch.optim.SGD`).

    Attributes:
        momentum: of the steps.
        nesterov: Nesterov's momentum.
    """

    name: str = "sgd"
    momentum: float = 0.0
    nesterov: bool = False


@dataclass
class AdamConfig(OptimizerConfig):
    """Adam (`torch.optim.Adam`).

    Attributes:
        beta1: decay of the gradients' mean.
        beta2: decay of the squared gradients' mean.
        eps: added to the denominator.
    """

    name: str = "adam"
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8


@dataclass
class AdamWConfig(AdamConfig):
    """Adam with decoupled weight decay (`torch.optim.AdamW`)."""

    name: str = "adamw"


@dataclass
class ScheduleConfig:
    """The learning rate over time, changed at each step: constant, or cosine down to zero.

    Attributes:
        warmup_epochs: epochs of a linear rise from zero before it; fractions count.
    """

    name: str = "constant"
    warmup_epochs: float = 0.0


@dataclass
class TrainingConfig:
    """How the weights are trained.

    Attributes:
        trainable: all, head, none, or a number N: the head and the last N stages of the backbone.
        epochs: passes over the training images.
        batch_size: images in a step.
        flip: training images are flipped left to right at random.
        label_smoothing: share of each label that is spread over all classes (Szegedy et al. 2016).
        clip_norm: length to which the gradient of a step is cut where it is longer (Pascanu et al. 2013); null: never.
        decay_norms: optimizer.weight_decay shrinks also norms and biases; false leaves them alone (He et al. 2019).
        keep: which weights are evaluated: the last, or those after the step with the lowest batch loss in the last
            fifth of the epochs.
        eval_every: epochs between two points of curve/eval_*, for looking only; null: no curve.
    """

    trainable: str = "all"
    epochs: int = 50
    batch_size: int = 64
    flip: bool = True
    label_smoothing: float = 0.0
    clip_norm: float | None = None
    decay_norms: bool = True
    keep: str = "last"
    eval_every: int | None = None
