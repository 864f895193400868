"""The comparison in a notebook, and the notebook that shows how."""

from __future__ import annotations

import html
from pathlib import Path

import numpy as np
import pytest
from fabricated import FINE_TUNE, FROM_SCRATCH, IMAGES, ZERO_SHOT, predict, run

import analysis
from analysis.comparison_table import add_evidence, build_table
from analysis.notebook import Comparison
from tlft.errors import ConfigurationError

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    runs = [
        (run(ZERO_SHOT, 133 / IMAGES, data=EVIL), predict(133, closed=149)),
        (run(FINE_TUNE, 146 / IMAGES, data=EVIL), predict(146, spoiled=1)),
        (run(FROM_SCRATCH, 105 / IMAGES, data=EVIL), predict(105)),
    ]
    frames = {record.run_id: frame for record, frame in runs}
    return Comparison(add_evidence(build_table([record for record, _ in runs]), frames), frames)


def test_it_shows_the_answer_the_table_and_the_notes_and_names_stay_text(comparison: Comparison) -> None:
    page = comparison._repr_html_()
    assert comparison.headline in html.unescape(page)
    assert "95.425 %" in page
    assert "<svg" in page
    assert "This fine-tuned network corrects" in page
    assert EVIL not in page
    assert html.escape(EVIL) in page
    assert "86.928 %" in str(comparison)
    assert len(repr(comparison)) < 120
    assert repr(comparison).startswith("<Comparison of ")


def test_claims_are_those_of_the_evidence(comparison: Comparison) -> None:
    claims = comparison.claims
    sides = list(zip(claims["new"], claims["old"], claims["closed_set"], strict=True))
    claim = claims.iloc[sides.index(("fine_tune", "zero_shot", False))]
    assert (claim["corrected"], claim["spoiled"], claim["images"]) == (14, 1, IMAGES)
    assert claim["difference"] == pytest.approx(13 / IMAGES)
    assert claim["low"] < claim["difference"] < claim["high"]
    assert (claims["p_corrected"] >= claims["p"]).all()
    assert ("fine_tune", "zero_shot", True) in sides


def test_frames_fit_each_other(comparison: Comparison) -> None:
    runs, predictions = comparison.runs, comparison.predictions
    assert list(runs["column"]) == ["zero_shot", "fine_tune", "from_scratch"]
    right = (predictions["predicted"] == predictions["label"]).groupby(predictions["run_id"]).mean()
    np.testing.assert_allclose(right[runs.index], runs["eval/accuracy"])
    photographs = comparison.photographs
    assert len(photographs) == IMAGES
    assert photographs["fine_tune_right"].mean() == pytest.approx(146 / IMAGES)
    assert photographs["disagreement"].is_monotonic_decreasing
    assert comparison.cells["fine_tune_accuracy"][0] == pytest.approx(146 / IMAGES)


def test_other_metrics_have_no_claims(home: Path) -> None:
    table = build_table([run(FINE_TUNE, 0.5)], metric="eval/accuracy")
    assert Comparison(table, {}).claims.empty
    assert Comparison(table, {}).predictions.empty
    assert Comparison(table, {}).photographs.empty
    with pytest.raises(ConfigurationError, match="no runs in experiment tlft"):
        analysis.compare()
