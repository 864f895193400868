"""Which column of the comparison a run belongs to."""

from __future__ import annotations

import pytest
from fabricated import FINE_TUNE, FROM_SCRATCH, LINEAR_PROBE, ZERO_SHOT, run

from tlft.config.columns import THREE, column_of, rung_of


@pytest.mark.parametrize(
    ("column", "key", "title"),
    [
        (ZERO_SHOT, *vars(THREE[0]).values()),
        (FINE_TUNE, *vars(THREE[1]).values()),
        (FROM_SCRATCH, *vars(THREE[2]).values()),
        (LINEAR_PROBE, "linear_probe", "pretrained, new head, only the head trained"),
        (("pretrained", "task", "2"), "partial_2", "pretrained, new head, last 2 stages trained"),
        (("pretrained", "task", "1"), "partial_1", "pretrained, new head, last stage trained"),
        (("pretrained", "task", "none"), "pretrained_task_none", "pretrained, new head, no fine-tuning"),
        (("scratch", "task", "none"), "scratch_task_none", "from scratch, new head, not trained"),
        (("scratch", "task", "3"), "scratch_task_3", "from scratch, new head, last 3 stages trained"),
        (("moments", "task", "all"), "moments", "random with the pretrained scale, new head, trained"),
        (("shuffled", "task", "all"), "shuffled", "pretrained values shuffled, new head, trained"),
    ],
)
def test_column_is_what_the_run_was(column: tuple[str, str, str], key: str, title: str) -> None:
    result = column_of(run(column).params)
    assert result is not None
    assert (result.key, result.title) == (key, title)


@pytest.mark.parametrize(
    ("trainable", "stages", "key", "title"),
    [
        ("all", "1", "stages_1", "first stage pretrained, new head, trained"),
        ("all", "3", "stages_3", "first 3 stages pretrained, new head, trained"),
        ("2", "3", "pretrained_task_2_stages_3", "first 3 stages pretrained, new head, last 2 stages trained"),
    ],
)
def test_pretrained_stages_are_columns_of_their_own(trainable: str, stages: str, key: str, title: str) -> None:
    result = column_of(run(("pretrained", "task", trainable), model__stages=stages).params)
    assert result is not None
    assert (result.key, result.title) == (key, title)


def test_a_run_that_is_only_evaluated_again_is_a_column_of_its_own() -> None:
    kept = run(("pretrained", "task", "none"), model__head="kept").params
    result = column_of(kept)
    assert result is not None
    assert (result.key, result.title) == ("evaluated", "as a run has trained it, its own head, nothing trained")
    tuned = column_of(run(("pretrained", "task", "all"), model__head="kept").params)
    assert tuned is not None
    assert tuned.key == "fine_tune"


def test_rungs_are_in_the_order_of_what_is_kept() -> None:
    rungs = ["from_scratch", "moments", "shuffled", "stages_0", "stages_2", "stages_10", "fine_tune"]
    jumbled = [rungs[place] for place in (3, 0, 6, 2, 5, 1, 4)]
    assert sorted(jumbled, key=lambda key: rung_of(key) or (-1, 0)) == rungs
    assert [rung_of(key) for key in ("zero_shot", "linear_probe", "stages", "stages_x", "partial_2")] == [None] * 5
