"""The part of the schema that says how a network is trained (see schema.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
class TorchConfig(OptimizerConfig):
    """Any optimizer of `torch.optim` or timm, by its name there.

    Attributes:
        algorithm: class in torch.optim, such as NAdam, or what timm's `list_optimizers` calls it, such as lamb.
        options: its other arguments, such as {betas:[0.9,0.98]}.
    """

    name: str = "torch"
    algorithm: str = MISSING
    options: Any = None  # typed, Hydra would let nobody add an argument


@dataclass
class ScheduleConfig:
    """The learning rate over time, changed at each step: constant, or cosine down to zero.

    Attributes:
        warmup_epochs: epochs of a linear rise from zero before it; fractions count.
    """

    name: str = "constant"
    warmup_epochs: float = 0.0


@dataclass
class StepConfig(ScheduleConfig):
    """A learning rate that falls by a factor every so many epochs (PyTorch's `StepLR`).

    Attributes:
        step_epochs: how many, counted from the end of the warm-up.
        gamma: the factor.
    """

    name: str = "step"
    step_epochs: int = 20
    gamma: float = 0.1


@dataclass
class AugmentConfig:
    """What is done to training images, beside `training.flip`; evaluation always has the centre crop of the weights.

    `reference` does no more than that, and `none` does not flip either.
    """

    name: str = MISSING


@dataclass
class CropConfig(AugmentConfig):
    """Random crops, scaled to the input of the network (Szegedy et al. 2015).

    `trivial` also changes each in one random way (TrivialAugment, Mueller and Hutter 2021).

    Attributes:
        min_scale: share of an image's area that a crop has at least.
    """

    min_scale: float = 0.08


@dataclass
class RandConfig(CropConfig):
    """Random crops, each changed in random ways (RandAugment, Cubuk et al. 2020).

    Attributes:
        operations: how many ways.
        magnitude: of each, 0 to 30.
    """

    name: str = "rand"
    operations: int = 2
    magnitude: int = 9


@dataclass
class MixConfig(CropConfig):
    """Random crops, mixed in pairs with their labels (Zhang et al. 2018; Yun et al. 2019).

    Attributes:
        alpha: of the beta distribution that says in which shares.
    """

    alpha: float = 1.0


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
        accumulate: batches whose gradients make one step, as if it had so many times the images.
        backbone_lr: learning rate of the backbone, as a share of optimizer.lr, which is the head's.
        layer_decay: the learning rate of each stage of the backbone, as a share of that of the next one towards the
            head (Clark et al. 2020); the last stage has this share of the head's.
        head_epochs: first epochs in which the head alone is trained, and the backbone is frozen (Kumar et al. 2022).
        unfreeze_epochs: then one stage of the backbone more is trained every so many epochs, from the last to the first
            (Howard and Ruder 2018); null: all at once.
        dropout: share of the numbers that the network's dropout leaves out (Srivastava et al. 2014); null: its
            library's.
        stochastic_depth: share of the images for which the last block of layers is left out, and fewer before it (Huang
            et al. 2016); null: its library's.
        image_size: side of the squares that are trained on, where others are evaluated (Touvron et al. 2019); null:
            data.image_size.
        class_weights: none, or balanced: a class counts in the loss by how few training images it has.
        ema: the weights that are evaluated are an average over the steps with this decay (Polyak and Juditsky 1992),
            such as 0.999; shorter at first: the decay is (1 + n) / (10 + n) after n steps where that is less; null: no
            average.
        sam: radius within which a step looks for the steepest loss (Foret et al. 2021), such as 0.05, at the cost of
            two passes; null: none.
        patience: epochs without a lower loss on the hold-out after which the training ends, of those in which all is
            trained that is to be trained at last; the weights of the epoch with the lowest are kept; null: it goes on
            to its end.
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
    accumulate: int = 1
    backbone_lr: float = 1.0
    layer_decay: float = 1.0
    head_epochs: int = 0
    unfreeze_epochs: int | None = None
    dropout: float | None = None
    stochastic_depth: float | None = None
    image_size: int | None = None
    class_weights: str = "none"
    ema: float | None = None
    sam: float | None = None
    patience: int | None = None
    keep: str = "last"
    eval_every: int | None = None
