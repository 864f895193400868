"""Which value is white in images of more than eight bits, so that a camera's do not come out black."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Configure
from PIL import Image

from tlft.data.dataset import open_dataset
from tlft.pixels.decode import load_image
from tlft.pixels.pixel_store import decode_all
from tlft.pixels.transforms import Reading, Transform, White
from tlft.runs.identify import identify

TRANSFORM = Transform(32, 32, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
RAMP = np.linspace(0, 1, 32 * 32).reshape(32, 32)

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return what writes a folder of grey ramps up to a value, with another largest value in one of them."""

    def write(largest: float, kind: str = "png", mode: type = np.uint16, one: float | None = None) -> Path:
        folder = tmp_path / f"{largest:g} {kind} {mode.__name__} {one}"
        for split in ("train", "val"):
            for number, name in enumerate(("ants", "bees")):
                (folder / split / name).mkdir(parents=True)
                for index in range(2):
                    top = one if one is not None and (split, number, index) == ("val", 1, 1) else largest
                    pixels: np.ndarray = np.rint(np.roll(RAMP, 4 * number + 2 * index + (split == "val")) * top).astype(
                        mode
                    )
                    Image.fromarray(pixels).save(folder / split / name / f"{index}.{kind}")
        return folder

    return write


@pytest.mark.parametrize(
    ("largest", "kind", "mode", "white"),
    [
        (4095, "png", np.uint16, 4095),
        (3900, "png", np.uint16, 4095),
        (1023, "tif", np.uint16, 1023),
        (255, "tif", np.int32, 255),
        (16000, "png", np.uint16, 16383),
        (65535, "png", np.uint16, None),
        (30000, "tif", np.uint16, None),
        (100000, "tif", np.int32, None),
        (200, "png", np.uint8, None),
        (1.0, "tif", np.float32, None),
    ],
)
def test_white_is_of_the_least_depth_that_has_room(
    configure: Configure, write: Write, largest: float, kind: str, mode: type, white: int | None
) -> None:
    config = configure("data=imagefolder", f"data.root='{write(largest, kind, mode)}'")
    for _ in range(2):  # the second time it is remembered
        assert open_dataset(config.data, config.home).white == White(white)


def test_grey_levels_that_were_lost_are_seen_and_the_key_says_so(
    configure: Configure, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    root = f"data.root='{write(4095)}'"
    config = configure("data=imagefolder", root)
    identity = identify(config)
    assert "data: white is 4095 (12 bits), since no value in 8 grey images is above 4095" in caplog.text
    assert identity.weights.transform.white == 4095
    assert identity.science["transform"]["white"] == 4095
    decoded = decode_all(identity.dataset.files, identity.weights.transform, config.home / "cache" / "decoded")
    assert len(np.unique(decoded.pixels.centre(0))) > 200
    plain = identify(configure("data=imagefolder", root, "data.white_level=65535"))
    assert "white" not in plain.science["transform"]
    assert plain.key != identity.key
    decoded = decode_all(plain.dataset.files, plain.weights.transform, config.home / "cache" / "decoded")
    assert 14 <= decoded.pixels.centre(0).max() <= 16


def test_the_largest_value_of_all_images_counts(configure: Configure, write: Write) -> None:
    config = configure("data=imagefolder", f"data.root='{write(900, one=4000.0)}'")
    assert open_dataset(config.data, config.home).white == White(4095)


@pytest.mark.parametrize("subset", ["data.train_fraction=0.3", "data.train_per_class=1"])
@pytest.mark.parametrize("folds", [0, 2])
def test_subsets_and_folds_have_the_white_of_the_whole(
    configure: Configure, write: Write, subset: str, folds: int
) -> None:
    folder = write(900)
    brightest = folder / "train" / "ants" / "bright.png"
    Image.fromarray(np.rint(RAMP * 4000).astype(np.uint16)).save(brightest)
    root = f"data.root='{folder / 'train' if folds else folder}'"
    contents = set()
    for fold in range(folds or 1):
        part = (f"data.folds={folds}", f"data.fold={fold}") if folds else ()
        for seed in range(4):
            config = configure("data=imagefolder", root, *part, subset, f"data.split_seed={seed}")
            dataset = open_dataset(config.data, config.home)
            assert dataset.white == White(4095)
            contents.add(brightest in dataset.files.values())
    assert contents == {True, False}, "the brightest is in some of them alone"


def test_what_a_file_says_of_itself_counts_for_it_and_the_largest_value_for_the_others(
    configure: Configure, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    folder = write(900, "tif")
    path = next(folder.rglob("*.tif"))
    Image.open(path).save(path, tiffinfo={281: 4095})
    config = configure("data=imagefolder", f"data.root='{folder}'")
    identity = identify(config)
    assert identity.dataset.white == White(1023, by_tags=True)
    assert "data: white is what the tags of some images say: 4095" in caplog.text
    assert (identity.science["transform"]["white"], identity.science["transform"]["white_tags"]) == (1023, True)
    decoded = decode_all(identity.dataset.files, identity.weights.transform, config.home / "cache" / "decoded")
    largest = {path: int(decoded.pixels.whole(decoded.rows[sha]).max()) for sha, path in identity.dataset.files.items()}
    assert {value for other, value in largest.items() if other != path} == {round(900 / 1023 * 255)}
    assert largest[path] == round(900 / 4095 * 255)


@pytest.mark.parametrize(("stated", "white"), [(4095, White(4095)), (500, White(1023)), (0, White(1023))])
def test_what_all_files_say_is_white_unless_they_have_larger_values(
    configure: Configure, write: Write, stated: int, white: White
) -> None:
    folder = write(900, "tif")
    for path in folder.rglob("*.tif"):
        Image.open(path).save(path, tiffinfo={281: stated})
    config = configure("data=imagefolder", f"data.root='{folder}'")
    assert open_dataset(config.data, config.home).white == white


def test_values_above_white_and_below_zero_have_a_scale_of_their_own(tmp_path: Path) -> None:
    for name, pixels in (("above", RAMP * 60000), ("below", RAMP * 2000 - 1000)):
        path = tmp_path / f"{name}.tif"
        Image.fromarray(np.rint(pixels).astype(np.int32)).save(path)
        grey = np.asarray(load_image(path, Reading(White(4095))))
        assert (grey.min(), grey.max()) == (0, 255)


@pytest.mark.parametrize("level", ["0", "-1", "bright", "12.5"])
def test_a_level_that_is_none_is_refused(configure: Configure, level: str) -> None:
    from tlft.config.validate import find_problems

    assert f"data.white_level={level}: give auto, or a whole number above 0, such as 4095" in find_problems(
        configure(f"data.white_level={level}")
    )
