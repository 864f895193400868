"""Golden figures on the reference photographs, where they are present."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from conftest import PHOTOGRAPHS, needs_photographs

from tlft.config.compose import Composer
from tlft.config.resolve import resolve
from tlft.config.typed import to_config
from tlft.data.batches import Split, open_images
from tlft.evaluation.metrics import compute_metrics
from tlft.evaluation.predictions import evaluate
from tlft.models.build import build_model
from tlft.runs.identify import identify
from tlft.runtime.device import prepare_machine

pytestmark = [needs_photographs, pytest.mark.photographs]


@pytest.fixture(scope="module")
def correct(composer: Composer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, int]]:
    """Return how many of the 153 photographs are right, open-set and closed-set, by normalisation."""
    home: Path = tmp_path_factory.mktemp("home")
    overrides = ("arch=efficientnet_lite0", "experiment=zero_shot", "precision=float32", f"data.root={PHOTOGRAPHS}")
    config = resolve(to_config(composer.compose([f"paths.home={home}", *overrides])))
    identity, machine = identify(config), prepare_machine(config)
    images = open_images(identity.dataset, identity.weights.transform, home, "error", 2).eval
    label_space = identity.label_space
    model = build_model(config, identity.weights, 2)

    def count(split: Split) -> tuple[int, int]:
        metrics = compute_metrics(evaluate(model, split.inputs, label_space, machine), split.labels)
        return round(153 * metrics["eval/accuracy"]), round(153 * metrics["eval/closed_set_accuracy"])

    imagenet = replace(images.transform, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    return {"package": count(images), "imagenet": count(replace(images, transform=imagenet))}


def test_untouched_lite0_gets_130_open_set_and_149_closed_set(correct: dict[str, tuple[int, int]]) -> None:
    assert correct["package"] == (130, 149)


def test_other_normalisation_would_show(correct: dict[str, tuple[int, int]]) -> None:
    assert 100 <= correct["imagenet"][0] <= 110  # 65 to 72 %: fifteen points below
