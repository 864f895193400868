"""Pictures of training curves."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from tlft.evaluation import curve_plots
from tlft.evaluation.curve_plots import History, draw_training
from tlft.names import CURVES, Metric

LINE = [(1, 0.5), (2, 0.25), (3, 0.125)]


def pixels(png: bytes | None) -> np.ndarray:
    assert png is not None
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=np.int64)


@pytest.mark.parametrize("points", [LINE, LINE[:1]])
def test_a_run_has_a_picture_in_the_colour_of_its_column(points: list[tuple[int, float]]) -> None:
    picture = pixels(draw_training([History("fine_tune", "fine-tuned", dict.fromkeys(CURVES, points))], "a $ run"))
    blue = (np.abs(picture - (0x00, 0x5F, 0x99)).sum(axis=2) < 30).sum()
    assert blue > 100
    other = pixels(draw_training([History("from_scratch", "scratch", dict.fromkeys(CURVES, points))], "a $ run"))
    assert other.shape == picture.shape
    assert (other != picture).any()


def test_what_was_not_trained_has_none() -> None:
    assert draw_training([], "nothing") is None
    assert draw_training([History("zero_shot", "untouched", {name: [] for name in CURVES})], "nothing") is None


def test_what_was_drawn_before_leaves_no_trace() -> None:
    def history(column: str, epochs: int, *metrics: str) -> History:
        return History(column, column, {name: [(n, 0.3 * n) for n in range(1, epochs + 1)] for name in metrics})

    sets = [
        [history("fine_tune", 9, *CURVES)],
        [history("from_scratch", 1, Metric.TRAIN_LOSS)],
        [history("fine_tune", 3, *CURVES), history("linear_probe", 200, *CURVES[:2])],
    ]
    curve_plots._sheet.cache_clear()
    first = []
    for histories in sets:
        first.append(draw_training(histories, "a title"))
        curve_plots._sheet.cache_clear()
    assert [draw_training(histories, "a title") for histories in sets[::-1]] == first[::-1]
    assert [draw_training(histories, "a title") for histories in sets] == first
