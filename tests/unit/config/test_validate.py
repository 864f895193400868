from __future__ import annotations

from dataclasses import asdict, replace
from itertools import permutations

import pytest
from conftest import Configure
from mlflow.exceptions import MlflowException

from tlft.config.schema import Config
from tlft.config.validate import find_problems
from tlft.names import LONGEST_NAME, LONGEST_TAG


def test_defaults_are_the_reference_recipe(configure: Configure) -> None:
    config = configure()
    assert (config.arch.name, config.model.weights) == ("resnet50", "IMAGENET1K_V1")
    assert (config.optimizer.name, config.optimizer.lr, getattr(config.optimizer, "momentum", None)) == (
        "sgd",
        0.01,
        0.5,
    )
    assert (config.training.epochs, config.training.batch_size, config.training.keep) == (50, 64, "last")
    assert find_problems(config) == []


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["seed=-1"], "seed=-1: give a whole number of at least 0"),
        (["training.epochs=-3"], "training.epochs=-3: give a whole number of at least 0"),
        (["training.batch_size=0"], "training.batch_size=0: give a whole number of at least 1"),
        (["optimizer.lr=0"], "optimizer.lr=0.0: give a finite number above 0"),
        (["optimizer.lr=-1"], "optimizer.lr=-1.0: give a finite number above 0"),
        (["optimizer.lr=nan"], "optimizer.lr=nan: give a finite number above 0"),
        (["optimizer.lr=inf"], "optimizer.lr=inf: give a finite number above 0"),
        (["optimizer.momentum=nan"], "optimizer.momentum=nan: give a number of at least 0"),
        (["head=imagenet1k"], "head=imagenet1k training.trainable=all: the 1000-class head is only evaluated"),
        (
            ["model=scratch", "head=imagenet1k", "training.trainable=none"],
            "an untrained 1000-class head knows no class",
        ),
        ([f"tracking.tags={{why:{'x' * 8001}}}"], "tracking.tags.why: its 8001 characters are more than the 8000 that"),
        ([f"tracking.tags={{{'n' * 251}:x}}"], "has 251 characters; MLflow takes at most 250"),
        (["tracking.tags={a@b:x}"], "tracking.tags: the name 'a@b' is none that MLflow takes"),
        (["tracking.tags={../up:x}"], "tracking.tags: the name '../up' is none that MLflow takes"),
        (["tracking.tags={command:x}"], "tracking.tags.command: is a tag of tlft's own"),
        (["device=tpu"], "device=tpu: choose one of auto, cpu, cuda, cuda:1, mps"),
        (["device=cuda:x"], "device=cuda:x: choose one of"),
        (["precision=bfloat61"], "did you mean bfloat16?"),
        (["training.trainable=heads"], "did you mean head?"),
        (["training.trainable=-1"], "training.trainable=-1: choose all, head, none, or a whole number"),
        (["data=imagefolder"], "data=imagefolder: say which folder, data.root="),
        (["data.eval_fraction=0.2"], "data=hymenoptera has its own split"),
        (["data.holdout_split=dev"], "data=hymenoptera has its own split"),
        (["training.label_smoothing=1"], "training.label_smoothing=1.0: give a number from 0 to below 1, such as 0.1"),
        (["training.clip_norm=0"], "training.clip_norm=0.0: give a finite number above 0, such as 1.0"),
        (["data.train_per_class=0"], "data.train_per_class=0: give a whole number of at least 1"),
        (["data.train_per_class=5", "data.train_fraction=0.5"], "data.train_per_class=5: give one of them"),
        (["model=scratch", "model.weights_file=x.pth"], "a scratch model loads no weights"),
        (["model=scratch", "model.run_id=12345678"], "a scratch model loads no weights"),
        (["model=run", "model.run_id=1234", "model.weights_file=x.pth"], "give one of them"),
        (
            ["model=moments", "model.stages=2"],
            "model.stages=2: are pretrained stages, and model=moments has none; use model=pretrained, or leave it out",
        ),
        (
            ["model=shuffled", "head=imagenet1k", "training.trainable=none"],
            "model=shuffled head=imagenet1k: an untrained",
        ),
        (
            ["model.stages=2", "head=imagenet1k", "training.trainable=none"],
            "model.stages=2 head=imagenet1k: an untrained",
        ),
        (["model.stages=-1"], "model.stages=-1: give a whole number of at least 0"),
        (["model.keep_head=true"], "model.keep_head=true: of which classifier? give model=run"),
        (["model=run", "model.run_id=1234", "head=imagenet1k", "training.trainable=none"], "only head=task begins as"),
        (["data.class_map=3"], "data.class_map=3: write {class:[output,...],...}"),
        (["schedule.warmup_epochs=60"], "schedule.warmup_epochs=60: more than training.epochs=50; give fewer"),
        (["training.ema=1"], "training.ema=1.0: give a number between 0 and 1, such as 0.999"),
        (["training.sam=-1"], "training.sam=-1.0: give a finite number above 0"),
        (
            ["training.head_epochs=50"],
            "training.head_epochs=50: leaves none of the training.epochs=50 for the backbone",
        ),
        (
            ["training.trainable=head", "training.head_epochs=60"],
            "training.head_epochs=60 training.trainable=head: the head alone is trained to the end; leave one of them",
        ),
        (["training.unfreeze_epochs=2", "training.trainable=head"], "training.unfreeze_epochs=2 training.trainable=he"),
        (["training.head_epochs=2", "training.trainable=00"], "training.head_epochs=2 training.trainable=head: the"),
        (
            ["recipe=gentle", "experiment=linear_probe"],
            "training.head_epochs=10 training.trainable=head: the head alone",
        ),
        (["data.sampler=balanced", "training.class_weights=balanced"], "rare classes would count twice; leave one"),
        (["training.accumulate=0"], "training.accumulate=0: give a whole number of at least 1"),
        (["training.layer_decay=1.5"], "training.layer_decay=1.5: give a number above 0 and up to 1"),
        (["training.class_weights=equal"], "training.class_weights=equal: choose one of none, balanced"),
        (["data.sampler=balance"], "data.sampler=balance: choose one of uniform, balanced; did you mean balanced?"),
        (["training.sam=0.1", "training.accumulate=2"], "a step looks around on one batch"),
        (["training.ema=0.9", "training.keep=lowest_train_loss"], "evaluate one of them, not both"),
        (["training.patience=2", "training.keep=lowest_train_loss"], "each keeps other weights"),
        (["augment=mixup", "training.batch_size=1"], "augment=mixup training.batch_size=1: mixes two images; give 2"),
        (["augment=rand", "augment.magnitude=31"], "augment.magnitude=31: give a whole number from 0 to 30"),
        (["schedule=step", "schedule.gamma=0"], "schedule.gamma=0.0: give a number above 0 and up to 1, such as 0.1"),
        (["data.image_size=0"], "data.image_size=0: give a whole number of at least 1"),
        (["data=manifest", "data.file=x.csv", "data.root=/x"], "data=manifest data.root=/x: takes no folder"),
        (["data=manifest", "data.file=x.csv", "data.eval_split=x"], "data.eval_split=x: the column split says"),
    ],
)
def test_meaningless_value_is_one_line_with_its_mend(configure: Configure, overrides: list[str], said: str) -> None:
    problems = find_problems(configure(*overrides))
    assert len(problems) == 1
    assert said in problems[0]
    assert "\n" not in problems[0]


KEYS_OF_RECIPES = (
    *("training.trainable=head", "training.trainable=1", "training.trainable=none", "training.epochs=0"),
    *("training.batch_size=1", "training.flip=false", "training.label_smoothing=0.1", "training.clip_norm=1.0"),
    *("training.decay_norms=false", "training.accumulate=2", "training.backbone_lr=0.1", "training.layer_decay=0.5"),
    *("training.head_epochs=5", "training.unfreeze_epochs=2", "training.dropout=0.1", "training.stochastic_depth=0.1"),
    *("training.image_size=96", "data.image_size=128", "training.class_weights=balanced", "data.sampler=balanced"),
    *("training.ema=0.9", "training.sam=0.1", "training.patience=2", "training.keep=lowest_train_loss"),
    *("training.eval_every=2", "schedule=cosine", "schedule=step", "schedule.warmup_epochs=2", "augment=none"),
    *("augment=trivial", "augment=mixup", "augment=cutmix", "optimizer=adamw", "optimizer.weight_decay=0.1"),
)
CONTRADICTIONS = {
    frozenset(pair)
    for pair in (
        ("training.trainable=head", "training.head_epochs=5"),
        ("training.trainable=head", "training.unfreeze_epochs=2"),
        ("training.batch_size=1", "augment=mixup"),
        ("training.batch_size=1", "augment=cutmix"),
        ("training.ema=0.9", "training.keep=lowest_train_loss"),
        ("training.patience=2", "training.keep=lowest_train_loss"),
        ("training.sam=0.1", "training.accumulate=2"),
        ("training.class_weights=balanced", "data.sampler=balanced"),
    )
}
"""All others go together, or one of them comes to nothing beside the other, and is then no part of the run key."""


def joined(first: Config, second: Config, neutral: Config) -> Config:
    """Return the first configuration with that in which the second is not neutral."""
    training = {
        name: value for name, value in asdict(second.training).items() if value != asdict(neutral.training)[name]
    }
    groups = ("optimizer", "schedule", "augment", "data")
    parts = {name: part for name in groups if (part := getattr(second, name)) != getattr(neutral, name)}
    return replace(first, training=replace(first.training, **training), **parts)


def test_of_all_pairs_of_keys_of_recipes_those_that_contradict_each_other_are_refused(configure: Configure) -> None:
    neutral, configs = configure(), {text: configure(text) for text in KEYS_OF_RECIPES}
    for pair in permutations(KEYS_OF_RECIPES, 2):
        first, second = pair
        if first.partition("=")[0] != second.partition("=")[0]:
            problems = find_problems(joined(configs[first], configs[second], neutral))
            assert len(problems) == (frozenset(pair) in CONTRADICTIONS), (pair, problems)
            assert all(text.partition("=")[2] in problem for problem in problems for text in pair)


@pytest.mark.parametrize("untrained", ["experiment=zero_shot", "training.epochs=0", "training.trainable=none"])
def test_with_nothing_trained_no_part_waits_for_another(configure: Configure, untrained: str) -> None:
    fewer = [] if "epochs" in untrained else ["training.epochs=5"]
    assert find_problems(configure("recipe=gentle", "training.unfreeze_epochs=1", untrained, *fewer)) == []


def test_all_problems_are_reported_together(configure: Configure) -> None:
    problems = find_problems(configure("seed=-1", "optimizer.lr=0", "device=tpu", "training.keep=best"))
    assert len(problems) == 4


def test_nothing_trainable_means_no_epochs_whatever_epochs_says(configure: Configure) -> None:
    config = configure("experiment=zero_shot", "training.epochs=5")
    assert config.training.epochs == 0
    assert find_problems(config) == []


def test_no_epochs_means_nothing_trainable(configure: Configure) -> None:
    assert configure("training.epochs=0").training.trainable == "none"


def test_command_line_beats_preset(configure: Configure) -> None:
    assert configure("experiment=fine_tune", "training.trainable=head").training.trainable == "head"


def test_debug_runs_have_an_experiment_of_their_own(configure: Configure) -> None:
    config = configure("debug=true")
    assert (config.tracking.experiment, config.training.epochs) == ("tlft-debug", 1)


def test_a_tag_as_long_as_mlflow_keeps_and_every_name_that_it_takes_are_right(configure: Configure) -> None:
    import mlflow.utils.validation as mlflow_validation

    assert (LONGEST_TAG, LONGEST_NAME) == (
        mlflow_validation.MAX_TAG_VAL_LENGTH,
        mlflow_validation.MAX_ENTITY_KEY_LENGTH,
    )
    config = configure()
    names = ["why", "a/b", "a.b-c_d e", ".hidden", "a:b", "ä", "n" * LONGEST_NAME]
    names += ["a,b", "..", "...", "../a", "/a", "//a", "a/../b", ".", "a/", "", "n" * (LONGEST_NAME + 1)]
    for name in names:
        config.tracking.tags = {name: "x" * LONGEST_TAG}
        try:
            mlflow_validation._validate_tag(name, "x" * LONGEST_TAG)  # type: ignore[no-untyped-call]
            is_taken = True
        except MlflowException:
            is_taken = False
        assert (find_problems(config) == []) == is_taken, name
