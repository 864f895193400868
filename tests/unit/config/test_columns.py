"""Which column of the comparison a run belongs to."""

from __future__ import annotations

import pytest
from fabricated import FINE_TUNE, FROM_SCRATCH, LINEAR_PROBE, ZERO_SHOT, run

from tlft.config.columns import THREE, column_of


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
    ],
)
def test_column_is_what_the_run_was(column: tuple[str, str, str], key: str, title: str) -> None:
    result = column_of(run(column).params)
    assert result is not None
    assert (result.key, result.title) == (key, title)
