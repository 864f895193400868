from __future__ import annotations

import pytest
import torch
from conftest import Configure
from tiny_network import CPU, Recorder, make_split
from torch import nn

from tlft.config.recipe_schema import TrainingConfig
from tlft.errors import ConfigurationError
from tlft.models.freeze import freeze
from tlft.training import loop
from tlft.training.loop import TrainingState
from tlft.training.unfreezing import refuse_too_few_epochs, trained_in


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        (TrainingConfig(), ["all"] * 6),
        (TrainingConfig(head_epochs=2), ["head", "head", "all", "all", "all", "all"]),
        (TrainingConfig(head_epochs=1, trainable="2"), ["head", "2", "2", "2", "2", "2"]),
        (TrainingConfig(unfreeze_epochs=1), ["1", "2", "all", "all", "all", "all"]),
        (TrainingConfig(head_epochs=1, unfreeze_epochs=2), ["head", "1", "1", "2", "2", "all"]),
        (TrainingConfig(unfreeze_epochs=1, trainable="2"), ["1", "2", "2", "2", "2", "2"]),
        (TrainingConfig(head_epochs=1, unfreeze_epochs=1, trainable="head"), ["head"] * 6),
    ],
)
def test_what_an_epoch_trains(recipe: TrainingConfig, expected: list[str]) -> None:
    assert [trained_in(epoch, recipe, depth=3) for epoch in range(6)] == expected


class ThreeStages(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))
        self.fc = nn.Linear(3, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        hidden = self.third(self.second(self.first(images).relu()).relu()).relu()
        return self.fc(hidden.mean((2, 3)))  # type: ignore[no-any-return]


class Watching(Recorder):
    """Remembers which layers each epoch has changed."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.before = self._copy(model)
        self.changed: list[str] = []

    def epoch(self, metrics: dict[str, float], model: nn.Module, state: TrainingState) -> None:
        super().epoch(metrics, model, state)
        after = self._copy(model)
        changed = (name for name, tensor in after.items() if not torch.equal(tensor, self.before[name]))
        self.changed.append(" ".join(sorted({name.partition(".")[0] for name in changed})))
        self.before = after

    def _copy(self, model: nn.Module) -> dict[str, torch.Tensor]:
        return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_stages_are_trained_one_after_the_other_from_the_last(configure: Configure, optimizer: str) -> None:
    recipe = ("training.epochs=6", "training.head_epochs=1", "training.unfreeze_epochs=2")
    config = configure(*recipe, "training.batch_size=4", f"optimizer={optimizer}", "optimizer.weight_decay=0.1")
    torch.manual_seed(0)
    model = ThreeStages()
    report = Watching(model)
    loop.train(model, make_split(), config, CPU, loop.fresh_state(config, model), report)
    assert report.changed == ["fc", *["fc third"] * 2, *["fc second third"] * 2, "fc first second third"]
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_training_that_ends_before_all_is_trained_is_refused() -> None:
    model = ThreeStages()
    enough = TrainingConfig(epochs=6, head_epochs=1, unfreeze_epochs=2)
    refuse_too_few_epochs(enough, model)
    refuse_too_few_epochs(TrainingConfig(epochs=5, head_epochs=1, unfreeze_epochs=2, trainable="2"), model)
    refuse_too_few_epochs(TrainingConfig(epochs=1, unfreeze_epochs=2, trainable="head"), model)
    refuse_too_few_epochs(TrainingConfig(epochs=0, unfreeze_epochs=2, trainable="none"), model)
    with pytest.raises(ConfigurationError, match=r"^training\.unfreeze_epochs=2: it takes 6 epochs until the first of"):
        refuse_too_few_epochs(TrainingConfig(epochs=5, head_epochs=1, unfreeze_epochs=2), model)


def test_a_model_that_comes_with_part_of_it_frozen_is_unfrozen_up_to_that(configure: Configure) -> None:
    recipe = ("training.trainable=2", "training.epochs=3", "training.unfreeze_epochs=1")
    config = configure(*recipe, "training.batch_size=4")
    model = ThreeStages()
    freeze(model, "2")
    report = Watching(model)
    loop.train(model, make_split(), config, CPU, loop.fresh_state(config, model), report)
    assert report.changed == ["fc third", "fc second third", "fc second third"]
