from __future__ import annotations

import json

import pytest
from conftest import Configure

from tlft.config.paths import PROJECT
from tlft.config.schema import Config
from tlft.names import flatten
from tlft.pixels.transforms import Transform
from tlft.runs.run_key import run_key, scientific_config
from tlft.runs.run_names import run_name

GOLDEN = PROJECT / "tests" / "data" / "run_keys.json"
"""Overrides -> run key. A key that changes makes every finished run of that kind be computed again: mend the code, and
never this file, unless a new FORMAT is meant."""

DIGESTS = {"train": "1" * 64, "eval": "2" * 64, "holdout": "3" * 64}
TRANSFORM = Transform(256, 224, "bilinear", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLASS_MAP = {"ants": [310], "bees": [309]}


def key_of(config: Config) -> str:
    weights = None if config.model.name == "scratch" else "0676ba61"
    class_map = CLASS_MAP if config.head.name == "imagenet1k" else None
    return run_key(scientific_config(config, DIGESTS, TRANSFORM, weights, class_map))


def test_golden_keys(configure: Configure) -> None:
    golden = json.loads(GOLDEN.read_text())
    assert len(golden) >= 12
    assert {overrides: key_of(configure(*overrides.split())) for overrides in golden} == golden


def test_golden_keys_differ_from_each_other() -> None:
    golden = json.loads(GOLDEN.read_text())
    assert len(set(golden.values())) == len(golden)


@pytest.mark.parametrize(
    "overrides",
    [
        "device=cpu",
        "threads=1",
        "paths.home=/elsewhere",
        "tracking.experiment=other",
        "tracking.uri=http://127.0.0.1:5000",
        "tracking.weights=false",
        "tracking.tags={who:me}",
        "force=true",
        "cache.max_gb=1",
        "training.eval_every=1",
        "data.root=/elsewhere",
        "data.on_bad_image=skip",
        "data.subfolders=ignore",
        "data.group=near_duplicates",
        "data.origin=elsewhere",
        "model.weights_file=/elsewhere/resnet50-0676ba61.pth",
    ],
)
def test_what_cannot_change_the_result_is_not_in_the_key(configure: Configure, overrides: str) -> None:
    assert key_of(configure(overrides)) == key_of(configure())


@pytest.mark.parametrize(
    "overrides",
    [
        "seed=1",
        "precision=float32",
        "optimizer.lr=0.02",
        "optimizer.momentum=0.9",
        "optimizer.nesterov=true",
        "optimizer.weight_decay=0.1",
        "optimizer=adam",
        "schedule=cosine",
        "schedule.warmup_epochs=1",
        "training.epochs=49",
        "training.batch_size=32",
        "training.flip=false",
        "training.keep=lowest_train_loss",
        "training.trainable=head",
        "training.trainable=1",
        "training.patience=3",
        "augment=trivial",
        "model=scratch",
        "arch=resnet18",
    ],
)
def test_what_can_change_the_result_is_in_the_key(configure: Configure, overrides: str) -> None:
    assert key_of(configure(overrides)) != key_of(configure())


@pytest.mark.parametrize(
    "overrides",
    [
        "seed=7",
        "optimizer=adam",
        "schedule=cosine",
        "training.epochs=3",
        "training.batch_size=8",
        "training.flip=false",
    ],
)
def test_with_nothing_trained_what_concerns_training_cannot_matter(configure: Configure, overrides: str) -> None:
    assert key_of(configure("experiment=zero_shot", overrides)) == key_of(configure("experiment=zero_shot"))


def test_seed_matters_where_an_untrained_head_is_drawn_from_it(configure: Configure) -> None:
    untrained = ("head=task", "training.trainable=none")
    assert key_of(configure(*untrained, "seed=1")) != key_of(configure(*untrained))


def test_seed_does_not_matter_where_a_run_is_evaluated_as_it_is(configure: Configure) -> None:
    evaluated = ("experiment=evaluate", "model.run_id=0123abcd")
    assert key_of(configure(*evaluated, "seed=1")) == key_of(configure(*evaluated))
    for drawn in ("model.keep_head=false", "training.trainable=all"):
        assert key_of(configure(*evaluated, drawn, "seed=1")) != key_of(configure(*evaluated, drawn))
    for stages in ((), ("model.stages=1",)):
        untouched = ("experiment=zero_shot", *stages)
        assert (key_of(configure(*untouched, "seed=1")) == key_of(configure(*untouched))) == (not stages)


@pytest.mark.parametrize("overrides", ["experiment=zero_shot", "experiment=zero_shot model.stages=1", "head=task"])
def test_a_name_has_the_seed_where_the_key_has_it(configure: Configure, overrides: str) -> None:
    names = {run_name(configure(*overrides.split(), "training.trainable=none", f"seed={seed}")) for seed in (1, 2)}
    keys = {key_of(configure(*overrides.split(), "training.trainable=none", f"seed={seed}")) for seed in (1, 2)}
    assert len(names) == len(keys)


def test_batch_norm_momentum_matters_where_pretrained_statistics_follow_it(configure: Configure) -> None:
    def differs(*overrides: str) -> bool:
        return key_of(configure(*overrides, "arch.bn_momentum=0.01")) != key_of(configure(*overrides))

    assert differs("experiment=fine_tune")
    assert not any(differs(f"experiment={name}") for name in ("zero_shot", "from_scratch", "linear_probe"))


def test_rates_of_the_backbone_matter_where_it_is_trained(configure: Configure) -> None:
    for key in ("training.backbone_lr=0.1", "training.layer_decay=0.5"):
        assert key_of(configure(key)) != key_of(configure())
        assert key_of(configure("training.trainable=head", key)) == key_of(configure("training.trainable=head"))


def test_no_augmentation_is_the_reference_without_flips(configure: Configure) -> None:
    assert key_of(configure("augment=none")) == key_of(configure("training.flip=false"))


def test_no_epochs_is_the_same_as_nothing_trainable(configure: Configure) -> None:
    assert key_of(configure("training.epochs=0")) == key_of(configure("training.trainable=none"))


def test_no_stage_of_the_backbone_is_the_same_as_the_head(configure: Configure) -> None:
    keys = {key_of(configure(f"training.trainable={trainable}")) for trainable in ("head", "0", "00")}
    assert len(keys) == 1


def test_training_images_matter_only_to_training(configure: Configure) -> None:
    def keys(train: str) -> list[str]:
        digests = {**DIGESTS, "train": train}
        science = [
            scientific_config(configure(*o), digests, TRANSFORM, "0676ba61", None)
            for o in ((), ("experiment=zero_shot",))
        ]
        return [run_key(s) for s in science]

    one, other = keys("a" * 64), keys("b" * 64)
    assert one[0] != other[0]
    assert one[1] == other[1]


def test_the_number_of_training_images_matters_where_one_is_left_alone(configure: Configure) -> None:
    def key(images: int, *overrides: str) -> str:
        config = configure("training.batch_size=4", *overrides)
        return run_key(scientific_config(config, DIGESTS, TRANSFORM, "0676ba61", None, images))

    assert key(8) == key(10) == key(11) == key(1)
    assert key(9) == key(13) != key(8)
    assert key(9, "training.batch_size=1") == key(8, "training.batch_size=1")
    assert key(9, "training.epochs=0") == key(8, "training.epochs=0")


def test_flatten_takes_values_of_any_length() -> None:
    assert flatten({"a": {"b": "x" * 20_000}}) == {"a.b": "x" * 20_000}


def test_flatten_spells_values_as_json() -> None:
    assert flatten({"a": {"b": True, "c": [1, 0.5]}, "d": "text"}) == {"a.b": "true", "a.c": "[1, 0.5]", "d": "text"}
