"""`data.decode=scaled`: a JPEG is decoded at a fraction of its size, if that has twice the pixels that are needed."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import Configure
from PIL import Image

from tlft.inference.classifier import open_source
from tlft.pixels.decode import decode, load_image
from tlft.pixels.pixel_store import decode_all, load_pixels, resize_and_crop
from tlft.pixels.transforms import Transform
from tlft.runs.identify import identify

FULL = Transform(50, 48, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
SCALED = replace(FULL, decode="scaled")


def smooth(width: int, height: int, shift: int = 0) -> Image.Image:
    """Return a picture of slow waves, of which no fraction loses anything."""
    y, x = np.mgrid[:height, :width] / height
    waves = [np.sin(3 * x + 2 * y + shift), np.cos(4 * y), np.sin(5 * x - y)]
    return Image.fromarray(np.rint(127.5 + 127.5 * np.stack(waves, axis=2)).astype(np.uint8))


def jpeg(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("size", "decoded"),
    [((1600, 1200), (200, 150)), ((1200, 1600), (150, 200)), ((400, 300), (200, 150)), ((260, 199), (260, 199))],
)
def test_as_few_pixels_are_decoded_as_have_twice_what_is_needed(
    size: tuple[int, int], decoded: tuple[int, int]
) -> None:
    data = jpeg(smooth(*size))
    assert decode(data, Path("a.jpg"), SCALED.reading).size == decoded
    assert decode(data, Path("a.jpg"), FULL.reading).size == size


def test_what_a_network_sees_is_nearly_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg(smooth(1600, 1200)))
    full, scaled = (load_pixels(path, each).astype(int) for each in (FULL, SCALED))
    assert 0 < np.abs(full - scaled).max() <= 8
    assert np.abs(full - scaled).mean() < 1


def test_it_is_upright_and_other_kinds_of_files_are_as_they_were(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    assert decode(jpeg(smooth(1600, 1200), exif=exif), Path("a.jpg"), SCALED.reading).size == (150, 200)
    path = tmp_path / "a.png"
    smooth(1600, 1200).save(path)
    assert np.array_equal(load_pixels(path, SCALED), load_pixels(path, FULL))


def test_it_is_a_run_of_its_own_with_records_of_its_own_and_applied_alike(configure: Configure, tmp_path: Path) -> None:
    for split in ("train", "val"):
        for number, name in enumerate(("ants", "bees")):
            (tmp_path / split / name).mkdir(parents=True)
            for index in range(2):
                image = smooth(2400, 2000, shift=4 * number + 2 * index + (split == "val"))
                (tmp_path / split / name / f"{index}.jpg").write_bytes(jpeg(image))
    root = ("data=imagefolder", f"data.root={tmp_path}")
    full, scaled = identify(configure(*root)), identify(configure(*root, "data.decode=scaled"))
    assert "decode" not in full.science["transform"]
    assert scaled.science["transform"]["decode"] == "scaled"
    assert scaled.key != full.key
    seen = {}
    for identity in (full, scaled):
        transform = identity.weights.transform
        decoded = decode_all(identity.dataset.files, transform, tmp_path / "cache")
        sha256, path = next(iter(identity.dataset.files.items()))
        seen[identity.key] = decoded.pixels.centre(decoded.rows[sha256])
        for source in (path.read_bytes(), str(path)):
            applied = resize_and_crop(open_source(source, reading=transform.reading), transform)
            assert np.array_equal(applied, seen[identity.key])
    assert not np.array_equal(seen[full.key], seen[scaled.key])
    assert load_image(next(iter(full.dataset.files.values()))).size == (2400, 2000)


def test_the_transform_survives_its_plain_form() -> None:
    assert Transform.from_dict(SCALED.to_dict()) == SCALED
    assert "decode" not in FULL.to_dict()
