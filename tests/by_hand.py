"""A training as papers and libraries write it down, with nothing of the harness but the seeds of its draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image
from tiny_network import TwoStages
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms import v2
from torchvision.transforms.functional import center_crop, resize

from tlft.data.batches import Split
from tlft.runtime.seeds import derive_seed, generator

Loss = Callable[[Tensor, Tensor], Tensor]
Change = Callable[[nn.Module], None]
Build = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]

PARTS = ("conv1", "norm1", "conv2", "norm2", "fc")
BATCHES = ((0, 4), (4, 8), (8, 10))
"""Of ten images, four at a time."""


class Keeper:
    """Is shown the model after each step and epoch, and may have other weights in the end; this one has the last."""

    def begin(self, model: nn.Module) -> None:
        """See the model before the first step."""

    def step(self, model: nn.Module, loss: float, epoch: int) -> None:
        """See the model after a step, whose loss was that."""

    def epoch(self, model: nn.Module) -> bool:
        """See the model after an epoch, and say whether the training ends here."""
        return False

    def end(self, model: nn.Module) -> None:
        """Put what is kept into the model."""


@dataclass(frozen=True)
class ByHand:
    """Gradient descent at a rate of 0.1, in three epochs, images flipped at random; each field changes one thing.

    Attributes:
        loss: of logits and labels of a whole step.
        change: what is done to the gradients before a step.
        rate: of each step, counted from 0.
        view: what is made of a picture, uint8 [3, h, w], before it is flipped.
        mix: what is made of a batch and its labels.
        order: the images of an epoch: what numbers are drawn from, and the labels -> indices.
        trained: the parts that an epoch trains, of `PARTS`; None: all.
        together: batches of a step.
        radius: within which a step looks for the steepest loss.
        size: to which the files are scaled and cut; None: the pixels are taken as they are.
    """

    network: Callable[[], nn.Module] = TwoStages
    loss: Loss = F.cross_entropy
    change: Change = lambda model: None
    rate: Callable[[int], float] = lambda step: 0.1
    view: Callable[[Tensor], Tensor] = lambda picture: picture
    mix: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = lambda images, labels: (images, labels)
    order: Callable[[np.random.Generator, np.ndarray], np.ndarray] = lambda random, labels: random.permutation(
        len(labels)
    )
    optimizer: Build = lambda parameters: torch.optim.SGD(parameters, lr=0.1)
    keeper: Callable[[], Keeper] = Keeper
    trained: Callable[[int], Sequence[str]] | None = None
    flips: bool = True
    together: int = 1
    radius: float = 0.0
    size: int | None = None
    epochs: int = 3

    def train(self, split: Split) -> tuple[nn.Module, list[float]]:
        """Return the network in the end, and the loss of each step."""
        torch.manual_seed(0)
        model = self.network()
        optimizer, keeper, losses = self.optimizer(model.parameters()), self.keeper(), list[float]()
        keeper.begin(model)
        for epoch in range(self.epochs):
            self._freeze(model, epoch)
            order = self.order(generator(0, "order", epoch), split.labels)
            for first in range(0, len(BATCHES), self.together):
                borders = BATCHES[first : first + self.together]
                batches = [self._batch(split, order, epoch, start, end) for start, end in borders]
                for group in optimizer.param_groups:
                    group["lr"] = self.rate(len(losses))
                losses.append(self._step(model, optimizer, batches, len(losses)))
                keeper.step(model, losses[-1], epoch)
            if keeper.epoch(model):
                break
        keeper.end(model)
        return model, losses

    def _freeze(self, model: nn.Module, epoch: int) -> None:
        """What is not trained has no gradients, and its batch norm uses the statistics that it has."""
        model.train()
        for name in PARTS if self.trained is not None else ():
            is_trained = self.trained is not None and name in self.trained(epoch)
            model.get_submodule(name).requires_grad_(is_trained).train(is_trained)

    def _batch(self, split: Split, order: np.ndarray, epoch: int, start: int, end: int) -> tuple[Tensor, Tensor]:
        flips, images = generator(0, "flips", epoch).random(len(split)) < 0.5, []
        for place in range(start, end):
            picture = torch.from_numpy(self._picture(split, order[place])).permute(2, 0, 1)
            torch.manual_seed(derive_seed(0, "augment", epoch, place))
            image = (self.view(picture) / 255 - 0.5) / 0.25
            images.append(image.flip(-1) if self.flips and flips[order[place]] else image)
        torch.manual_seed(derive_seed(0, "mix", epoch, start))
        return self.mix(torch.stack(images), torch.from_numpy(split.labels[order[start:end]]))

    def _picture(self, split: Split, index: int) -> np.ndarray:
        if self.size is None:
            return np.array(split.pixels[np.array([index])][0])
        with Image.open(split.files[index].path) as file:
            return np.array(center_crop(resize(file.convert("RGB"), [self.size]), [self.size]))

    def _step(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, batches: Sequence[tuple[Tensor, Tensor]], step: int
    ) -> float:
        seeds = [derive_seed(0, "layers", step, *((place,) if place else ())) for place in range(len(batches))]
        loss = self._follow_back(model, batches, seeds)
        if self.radius:
            state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
            length = length_of(gradients(model))
            with torch.no_grad():
                for parameter in model.parameters():
                    assert parameter.grad is not None
                    parameter.add_(self.radius * parameter.grad / length)
            self._follow_back(model, batches, None)
            model.load_state_dict(state)  # with the statistics of the first pass
        self.change(model)
        optimizer.step()
        return loss

    def _follow_back(
        self, model: nn.Module, batches: Sequence[tuple[Tensor, Tensor]], seeds: Sequence[int] | None
    ) -> float:
        """Set the gradients of the loss over all images of a step, of which batch norm sees a batch at a time."""
        logits = []
        for place, (images, _) in enumerate(batches):
            if seeds is not None:
                torch.manual_seed(seeds[place])
            logits.append(model(images))
        loss = self.loss(torch.cat(logits), torch.cat([labels for _, labels in batches]))
        model.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()


def gradients(model: nn.Module) -> list[Tensor]:
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


def length_of(tensors: Sequence[Tensor]) -> float:
    return math.sqrt(sum(float((tensor**2).sum()) for tensor in tensors))


def smooth(logits: Tensor, labels: Tensor) -> Tensor:
    """Szegedy et al. 2016, section 7: 0.2 of the target is spread evenly."""
    shares = labels if labels.ndim > 1 else F.one_hot(labels, 2)
    return -((0.8 * shares + 0.2 / 2) * logits.log_softmax(1)).sum(1).mean()


WEIGHTS = (10 / (2 * 7), 10 / (2 * 3))
"""n / (k * n_c) of ten images in two classes, of which the first has seven (King and Zeng 2001)."""


def weigh(logits: Tensor, labels: Tensor) -> Tensor:
    """Of labels that are mixed PyTorch divides by how many there are, else by their weights."""
    if labels.ndim > 1:
        return -(torch.tensor(WEIGHTS) * labels * logits.log_softmax(1)).sum(1).mean()
    weights = torch.tensor(WEIGHTS)[labels]
    return (weights * F.cross_entropy(logits, labels, reduction="none")).sum() / weights.sum()


def weigh_smooth(logits: Tensor, labels: Tensor) -> Tensor:
    """Each class has its weight in the softened target too, and the whole is divided by the weights of the labels."""
    targets = 0.8 * F.one_hot(labels, 2) + 0.2 / 2
    weights = torch.tensor(WEIGHTS)
    return -(weights * targets * logits.log_softmax(1)).sum() / weights[labels].sum()


def cut(model: nn.Module) -> None:
    """Pascanu et al. 2013, algorithm 1, at 0.05."""
    length = length_of(gradients(model))
    for gradient in gradients(model):
        gradient.mul_(min(1.0, 0.05 / length))


def shrink_matrices(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if name in ("conv1.weight", "conv2.weight", "fc.weight"):
            assert parameter.grad is not None
            parameter.grad += 0.5 * parameter.detach()


def scale_stages(first: float, second: float) -> Change:
    """Return what rates of their own do to the gradients of both stages."""

    def change(model: nn.Module) -> None:
        for name, parameter in model.named_parameters():
            if parameter.grad is not None and not name.startswith("fc."):
                parameter.grad *= first if name.startswith(("conv1.", "norm1.")) else second

    return change


def all_classes_alike(random: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    """Draw with replacement: each of seven images with a fourteenth, each of three with a sixth."""
    return random.choice(10, 10, p=[1 / 14 if label == 0 else 1 / 6 for label in labels])


def crop(*changes: v2.Transform) -> Callable[[Tensor], Tensor]:
    """Return torchvision's random crop to 8 pixels, with what is done to it."""
    mode = v2.InterpolationMode.BILINEAR
    view: Callable[[Tensor], Tensor] = v2.Compose(
        [v2.RandomResizedCrop(8, scale=(0.08, 1.0), interpolation=mode, antialias=True), *changes]
    )
    return view


def rates_of(
    scheduler: Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler],
) -> Callable[[int], float]:
    """Return the rates that one of PyTorch's schedulers gives, which takes a step with each of the optimizer's."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    theirs, rates = scheduler(optimizer), list[float]()
    for _ in range(9):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()
    return rates.__getitem__


@dataclass
class RunningAverage(Keeper):
    """Average the weights that there are in the beginning, and those after each step."""

    average: dict[str, Tensor] = field(default_factory=dict)
    steps: int = 0

    def begin(self, model: nn.Module) -> None:
        self.average = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def step(self, model: nn.Module, loss: float, epoch: int) -> None:
        self.steps += 1
        decay = min(0.9, (1 + self.steps) / (10 + self.steps))
        for name, tensor in model.state_dict().items():
            old = self.average[name]
            is_float = tensor.is_floating_point()
            self.average[name] = decay * old + (1 - decay) * tensor if is_float else tensor.clone()

    def end(self, model: nn.Module) -> None:
        model.load_state_dict(self.average)


@dataclass
class Best(Keeper):
    """Keep the weights with the lowest loss: of the last epoch's batches, or on a hold-out after each epoch.

    Attributes:
        holdout: the loss of a model there; None: it is the batches that count.
        patience: epochs without a lower one, of those after the first `spared`, after which the training ends.
    """

    holdout: Callable[[nn.Module], float] | None = None
    patience: int = 1
    spared: int = 0
    lowest: float = math.inf
    since: int = 0
    epochs: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)

    def step(self, model: nn.Module, loss: float, epoch: int) -> None:
        if self.holdout is None and epoch == 2:
            self._look(model, loss)

    def epoch(self, model: nn.Module) -> bool:
        if self.holdout is None:
            return False
        self.epochs += 1
        is_lower = self._look(model, self.holdout(model))
        self.since = 0 if is_lower or self.epochs <= self.spared else self.since + 1
        return self.since >= self.patience

    def _look(self, model: nn.Module, loss: float) -> bool:
        if is_lower := loss < self.lowest:
            self.lowest, self.weights = loss, {name: tensor.clone() for name, tensor in model.state_dict().items()}
        return is_lower

    def end(self, model: nn.Module) -> None:
        model.load_state_dict(self.weights)
