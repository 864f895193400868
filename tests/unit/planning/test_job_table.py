"""What is shown of many jobs fits a terminal, with figures and ids whole."""

from __future__ import annotations

import pytest

from tlft.planning.job_table import JobLine, render_jobs

LINES = [
    JobLine(
        number=number,
        words=("efficientnet_lite0", model, head, *rest, "on a_data_set_with_a_name"),
        status=status,
        accuracy=0.92157,
        seconds=12345.6,
        run_id=f"{number}fcdf1d3aa" * 3,
    )
    for number, (model, head, rest, status) in enumerate(
        [
            ("pretrained", "imagenet1k", ("untrained",), "done before"),
            ("pretrained", "task", ("sgd", "s0"), "done"),
            ("scratch", "task", ("sgd", "s0"), "done (same as job 1)"),
        ]
    )
]


@pytest.mark.parametrize("width", [80, 100, 140])
def test_figures_and_ids_stay_whole_and_what_all_share_is_said_once(width: int) -> None:
    text = render_jobs(LINES, width)
    assert max(map(len, text.splitlines())) <= width
    assert text.splitlines()[0] == "all: efficientnet_lite0 on a_data_set_with_a_name"
    assert text.count("efficientnet_lite0") == 1
    for line in LINES:
        assert f"{line.run_id[:8]}\n" in f"{text}\n"
    assert text.count("92.157 %") == text.count("12345.6 s") == 3
    assert "…" not in text


def test_one_job_keeps_its_name() -> None:
    (line, *_) = render_jobs(LINES[:1], 140).splitlines()[2:]
    assert "efficientnet_lite0 pretrained imagenet1k untrained" in line
