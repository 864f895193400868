"""What is said where the run that another starts from saw its images in another way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tlft.pixels.transforms import Transform, White
from tlft.runs.parent import _differences

HERE = Transform(256, 224, "bilinear", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize(
    ("there", "said"),
    [
        (HERE, []),
        (HERE.sized(160), ["160 pixels a side, here 224 (set data.image_size=160)"]),
        (
            HERE.of_files(White(4095), "scaled"),
            [
                "white 4095, here 65535 (set data.white_level=4095)",
                "decoded scaled, here full (set data.decode=scaled)",
            ],
        ),
        (
            HERE.of_files(White(by_tags=True), "full"),
            ["white 65535 but for tags of files, here 65535 (set data.white_level=auto)"],
        ),
        (
            replace(HERE, std=(0.5, 0.5, 0.5), squash=True),
            [
                "std 0.5 0.5 0.5, here 0.229 0.224 0.225, squash True, here not "
                "(set model.weights to those that it began with)"
            ],
        ),
        (
            replace(HERE, resize=232),
            ["scaled to 232 for 224 pixels, here to 256 for 224 (set model.weights to those that it began with)"],
        ),
        (
            replace(HERE, resize=257),
            ["scaled to 257 pixels, here to 256 (set model.weights to those that it began with)"],
        ),
    ],
)
def test_the_parts_that_differ_are_said_alone_each_with_its_key(there: Transform, said: list[str]) -> None:
    assert _differences(there, HERE) == said
