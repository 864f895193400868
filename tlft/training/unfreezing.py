"""Which part of a network each epoch trains, where that grows from the head to the whole."""

from __future__ import annotations

from torch import nn

from tlft.config.recipe_schema import TrainingConfig
from tlft.errors import ConfigurationError
from tlft.models.freeze import stages


def trained_in(epoch: int, recipe: TrainingConfig, depth: int) -> str:
    """Return what an epoch, counted from 0, trains of a backbone of so many stages, as `training.trainable` says it.

    The head alone in the first `training.head_epochs`; then all that is trained at last, or with
    `training.unfreeze_epochs` the last stage, and one more each time (Howard and Ruder 2018, ULMFiT, 3.3).
    """
    if recipe.trainable == "head" or epoch < recipe.head_epochs:
        return "head"
    if recipe.unfreeze_epochs is None:
        return recipe.trainable
    unfrozen = 1 + (epoch - recipe.head_epochs) // recipe.unfreeze_epochs
    return str(unfrozen) if unfrozen < _stages_at_last(recipe, depth) else recipe.trainable


def refuse_too_few_epochs(recipe: TrainingConfig, model: nn.Module) -> None:
    """Raise ConfigurationError if training would end before all is trained that is to be trained at last."""
    if recipe.unfreeze_epochs is None or not (recipe.trainable == "all" or recipe.trainable.isdecimal()):
        return
    count = _stages_at_last(recipe, len(stages(model)))
    needed = recipe.head_epochs + (count - 1) * recipe.unfreeze_epochs + 1
    if needed > recipe.epochs:
        raise ConfigurationError(
            f"training.unfreeze_epochs={recipe.unfreeze_epochs}: it takes {needed} epochs until the first of {count} "
            f"stages is trained; give more than training.epochs={recipe.epochs}, or training.trainable=N for fewer"
        )


def _stages_at_last(recipe: TrainingConfig, depth: int) -> int:
    return depth if recipe.trainable == "all" else int(recipe.trainable)
