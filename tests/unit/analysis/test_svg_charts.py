"""The vector pictures say what they show."""

from __future__ import annotations

import re

from analysis.svg_charts import Curve, Frame, Strip, draw_confusion, draw_curves, draw_dots


def test_pictures_say_what_they_show() -> None:
    dots = draw_dots(
        [Strip("a & b", "fine_tune", (50.0, 75.0), (40.0, 90.0))], "accuracy, %", (35.0, 100.0), percent=True
    )
    assert "<title>a &amp; b: 50.0 %, 75.0 %</title>" in dots
    assert dots.count("<circle") == 2
    curves = [Curve("fine_tune", ((1, 0.5),)), Curve("other", ())]
    curve = draw_curves("loss", curves, Frame.around(curves), {"fine_tune": "fine-tuned"})
    assert "<circle" in curve
    matrix = draw_confusion("m", ["a", "b"], ["a", "b", "other"], [[0.5, 0.25, 0.25], [0, 1, 0]])
    assert "<title>a, predicted other: 25.0 %</title>" in matrix


def test_equal_dots_do_not_lie_upon_each_other() -> None:
    dots = draw_dots(
        [Strip("seeds", "fine_tune", (95.0, 95.0, 95.0), None)], "accuracy, %", (35.0, 100.0), percent=True
    )
    assert len(set(re.findall(r'cy="([^"]+)"', dots))) == 3
