from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from bench.__main__ import COMPARISONS, figures, main
from bench.pairs import Comparison, Figure, Side, Sizes, measure, ratio_of


def test_sides_take_turns_and_hear_the_round() -> None:
    order: list[tuple[str, int]] = []

    def fake(name: str, seconds: float) -> Side:
        def work(number: int) -> float:
            order.append((name, number))
            return seconds + number

        return work

    said: list[str] = []
    seconds = measure({"a": fake("a", 1), "b": fake("b", 10)}, 3, said.append)
    assert order == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("b", 2)]
    assert seconds == {"a": [1, 2, 3], "b": [10, 11, 12]}
    assert said[1] == "  round 1 of 3: b 10.00 s"


def test_a_ratio_is_of_the_two_sides_of_each_round_and_larger_where_we_are_faster() -> None:
    ratio = ratio_of(theirs=[10, 40, 6], ours=[5, 10, 6])
    assert (ratio.median, ratio.min, ratio.max, ratio.n) == (2, 1, 4, 3)
    with pytest.raises(ValueError, match="shorter"):
        ratio_of([1, 2], [1])


def test_figures_are_chosen_by_name_or_by_how_their_names_begin() -> None:
    def prepare(folder: Path, sizes: Sizes) -> Mapping[str, Side]:
        return {}

    names = ("epoch/a/x", "epoch/a/y", "epoch/ab/x")
    comparison = Comparison([Figure(name, "theirs", "ours", "") for name in names], prepare)
    assert [figure.name for figure in comparison.chosen([])] == [*names]
    assert [figure.name for figure in comparison.chosen(["epoch/a"])] == ["epoch/a/x", "epoch/a/y"]
    assert [figure.name for figure in comparison.chosen(["epoch/ab/x", "other"])] == ["epoch/ab/x"]


def test_every_figure_has_a_name_and_a_meaning_of_its_own() -> None:
    names = [figure.name for figure in figures()]
    assert len(names) == len({*names})
    for arch in ("resnet50", "efficientnet_lite0"):
        peers = ("over_tutorial", "over_fastai", "over_timm", "over_lightning", "share_of_bare_step")
        assert {f"epoch/{arch}/{peer}" for peer in peers} <= {*names}
    others = ("probes100/over_tutorial", "probes100/over_zero_shot", "decode/share_of_pillow_pool")
    assert {*others, "table1000/share_of_search_runs", "plan1000/over_hydra"} <= {*names}
    assert all(figure.meaning and figure.theirs != figure.ours for figure in figures())


def test_names_that_are_none_and_no_rounds_are_refused_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["epoch/resnet50/over_tutoral"]) == 2
    assert capsys.readouterr().err == (
        "epoch/resnet50/over_tutoral: no such figure; did you mean epoch/resnet50/over_tutorial?\n"
    )
    assert main(["--pairs", "0"]) == 2
    assert capsys.readouterr().err == "--pairs 0: give 1 or more\n"
    assert main(["--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == sum(len(each.figures) for each in COMPARISONS)
