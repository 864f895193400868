from __future__ import annotations

import json

import pytest
from conftest import Configure

from tlft.names import Metric
from tlft.runs.curves_view import curves_page, curves_view
from tlft.runs.experiment_note import refresh_note
from tlft.tracking.store import Store

METRICS = (Metric.ACCURACY, Metric.TRAIN_SECONDS, Metric.TRAIN_LOSS, f"{Metric.RECALL}ants", Metric.PEAK_MEMORY)


def sections(metrics: tuple[str, ...]) -> list[str]:
    return [section["name"] for section in json.loads(curves_view(metrics))["compareRunSections"]]


def test_training_curves_come_first_and_no_section_is_empty() -> None:
    assert sections(METRICS) == ["train", "eval", "eval/recall", "time"]
    assert sections((*METRICS, Metric.CURVE_LOSS, Metric.HOLDOUT_ACCURACY)) == [
        *("train", "curve", "eval", "eval/recall", "holdout", "time")
    ]
    assert sections(()) == []


def test_the_page_names_the_view_that_the_experiment_keeps(
    configure: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    config = configure()
    store = Store(config)
    refresh_note(config)
    assert caplog.messages == []
    _, _, key = curves_page(store.uri, store.experiment_id).partition("&viewStateShareKey=")
    tags = store.client.get_experiment(store.experiment_id).tags
    assert tags[f"mlflow.sharedViewState.{key.partition('&')[0]}"] == curves_view(())
