"""Presets of recipes and experiments: with other options, with single keys, and in the run key."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from conftest import Configure
from omegaconf import DictConfig, OmegaConf
from test_run_key import key_of

from tlft.config.compose import Composer
from tlft.config.help import GROUPS
from tlft.config.paths import CONF
from tlft.config.validate import find_problems

PRESETS = [
    f"{group}={path.stem}" for group in ("recipe", "experiment") for path in sorted((CONF / group).glob("*.yaml"))
]
OPTIONS = [f"{path.parent.name}={path.stem}" for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]

BY_HAND = {
    "recipe=published": ("optimizer.lr=0.01", "optimizer.momentum=0.5", "training.batch_size=64", "training.epochs=50"),
    "recipe=modern": (
        *("optimizer=adamw", "optimizer.lr=0.0005", "optimizer.weight_decay=0.05", "training.decay_norms=false"),
        *("schedule=cosine", "schedule.warmup_epochs=5", "augment=random_resized_crop", "augment.min_scale=0.25"),
        *("training.label_smoothing=0.1", "training.ema=0.99"),
    ),
    "recipe=gentle": ("training.head_epochs=10", "training.backbone_lr=0.1"),
}
"""Every preset of a recipe -> what it stands for."""


def part(composed: DictConfig, group: str) -> Any:
    return OmegaConf.to_container(composed[group], resolve=False)


@pytest.mark.parametrize("option", [option for option in OPTIONS if not option.startswith(("sweep=", *PRESETS))])
def test_with_a_preset_an_option_of_a_group_has_its_own_values(composer: Composer, option: str) -> None:
    group = option.partition("=")[0]
    own = part(composer.compose([option]), group)
    for number, preset in enumerate(PRESETS):
        overrides = [preset, option] if number % 2 else [option, preset]
        assert part(composer.compose(overrides), group) == own, overrides


def test_presets_of_recipes_set_keys_of_training_alone() -> None:
    """What they set of a group would stay where another option is chosen, which may not even have the key."""
    groups = {path.name for path in CONF.iterdir() if path.is_dir()}
    paths = [path for group in ("recipe", "experiment") for path in (CONF / group).glob("*.yaml")]
    assert len(paths) > 5
    for path in paths:
        assert not set(OmegaConf.load(path)) & groups, path


@pytest.mark.parametrize(
    ("recipe", "experiment"), product([*BY_HAND], ["fine_tune", "from_scratch", "zero_shot", "evaluate"])
)
def test_what_a_preset_of_a_recipe_says_holds_in_each_experiment(
    configure: Configure, recipe: str, experiment: str
) -> None:
    run = (f"experiment={experiment}", *(["model.run_id=0123abcd"] if experiment == "evaluate" else []))
    both = configure(recipe, *run)
    assert find_problems(both) == []
    assert both.training.trainable == configure(*run).training.trainable
    assert key_of(both) == key_of(configure(*run, *BY_HAND[recipe]))


@pytest.mark.parametrize("recipe", BY_HAND)
def test_a_recipe_is_in_the_key_as_what_it_stands_for(configure: Configure, recipe: str) -> None:
    assert key_of(configure(recipe)) == key_of(configure(*BY_HAND[recipe]))
    assert (key_of(configure(recipe)) == key_of(configure())) == (recipe == "recipe=published")


def test_every_recipe_is_spelled_out_here() -> None:
    assert {*BY_HAND} == {preset for preset in PRESETS if preset.startswith("recipe=")}


@pytest.mark.parametrize(
    ("recipe", "option", "by_hand"),
    [
        ("recipe=modern", "optimizer=sgd", ("optimizer=sgd", "optimizer.lr=0.01", "optimizer.weight_decay=0")),
        ("recipe=modern", "optimizer=adamw", ("optimizer.lr=0.0001", "optimizer.weight_decay=0.01")),
        ("recipe=modern", "schedule=constant", ("schedule=constant", "schedule.warmup_epochs=0")),
        ("recipe=modern", "schedule=cosine", ("schedule.warmup_epochs=0",)),
        ("recipe=modern", "augment=none", ("augment=reference", "training.flip=false")),
        ("recipe=modern", "augment=trivial", ("augment=trivial", "augment.min_scale=0.08")),
        (
            "recipe=gentle",
            "optimizer=modern",
            ("optimizer=adamw", "optimizer.lr=0.0005", "optimizer.weight_decay=0.05"),
        ),
    ],
)
def test_another_option_beside_a_recipe_is_the_key_of_its_own_values(
    configure: Configure, recipe: str, option: str, by_hand: tuple[str, ...]
) -> None:
    changed = {text.partition("=")[0] for text in by_hand}
    groups = {group for group in ("optimizer", "schedule", "augment") if group in changed}
    others = [text for text in BY_HAND[recipe] if text.partition("=")[0] not in changed]
    others = [text for text in others if text.partition(".")[0] not in groups]
    asked = configure(recipe, option)
    assert find_problems(asked) == []
    assert key_of(asked) == key_of(configure(*others, *by_hand))
    assert key_of(asked) != key_of(configure(recipe))


@pytest.mark.parametrize(
    ("recipe", "key"),
    [
        ("recipe=modern", "optimizer.lr=0.001"),
        ("recipe=modern", "optimizer.weight_decay=0"),
        ("recipe=modern", "schedule.warmup_epochs=0"),
        ("recipe=modern", "augment.min_scale=0.08"),
        ("recipe=modern", "training.ema=null"),
        ("recipe=modern", "training.label_smoothing=0"),
        ("recipe=modern", "training.decay_norms=true"),
        ("recipe=gentle", "training.head_epochs=3"),
        ("recipe=gentle", "training.backbone_lr=1"),
        ("recipe=published", "optimizer.momentum=0.9"),
    ],
)
def test_a_single_key_beats_a_recipe_on_either_side_of_it(configure: Configure, recipe: str, key: str) -> None:
    name = key.partition("=")[0]
    others = [text for text in BY_HAND[recipe] if text.partition("=")[0] != name]
    expected = key_of(configure(*others, key))
    assert key_of(configure(recipe, key)) == key_of(configure(key, recipe)) == expected
    assert expected != key_of(configure(recipe))
