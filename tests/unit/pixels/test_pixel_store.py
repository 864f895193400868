from __future__ import annotations

import errno
import hashlib
import logging
import os
import pickle
import re
import shutil
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlft.errors import TlftError
from tlft.pixels import pixel_store as decode
from tlft.pixels.decode import BadImageError, load_image
from tlft.pixels.pixel_store import DecodedImages, decode_all, decode_images, resize_and_crop, scale
from tlft.pixels.transforms import Transform
from tlft.storage.records import open_store, shards_of

HALF = (0.5, 0.5, 0.5)
SMALL = Transform(10, 8, "bilinear", HALF, HALF)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def digests_of(*paths: Path) -> dict[str, Path]:
    return {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in paths}


def pixel(path: Path, x: int = 0, y: int = 0) -> tuple[int, ...]:
    value = load_image(path).getpixel((x, y))
    assert isinstance(value, tuple)
    return value


def close(actual: tuple[int, ...], expected: tuple[int, ...], tolerance: int = 6) -> bool:
    return all(abs(a - b) <= tolerance for a, b in zip(actual, expected, strict=True))


@pytest.fixture
def photographs(tmp_path: Path) -> dict[str, Path]:
    """Six good files."""
    paths = [tmp_path / f"{seed}.png" for seed in range(6)]
    for seed, path in enumerate(paths):
        noise(17 + seed, 12, seed).save(path)
    return digests_of(*paths)


@pytest.fixture
def truncated(tmp_path: Path) -> Path:
    whole = tmp_path / "whole.jpg"
    noise(64, 64).save(whole)
    path = tmp_path / "truncated.jpg"
    path.write_bytes(whole.read_bytes()[:1500])
    return path


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were decoded, as a list that grows."""
    decoded: list[Path] = []
    original = decode.load_scaled

    def counted(path: Path, transform: Transform, digest: str) -> np.ndarray:
        decoded.append(path)
        return original(path, transform, digest)

    monkeypatch.setattr(decode, "load_scaled", counted)
    return decoded


# one file


def test_exif_orientation_turns_the_image_upright(tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 20), "blue")
    image.paste("red", (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    upright = load_image(tmp_path / "turned.jpg")
    assert upright.size == (20, 40)
    assert close(pixel(tmp_path / "turned.jpg", 10, 5), (254, 0, 0))
    assert close(pixel(tmp_path / "turned.jpg", 10, 35), (0, 0, 254))


@pytest.mark.parametrize(
    ("mode", "color", "name", "expected"),
    [
        ("L", 100, "grey.png", (100, 100, 100)),
        ("1", 1, "bit.png", (255, 255, 255)),
        ("LA", (0, 51), "grey-alpha.png", (204, 204, 204)),
        ("RGBA", (255, 0, 0, 0), "clear.png", (255, 255, 255)),
        ("RGBA", (255, 0, 0, 51), "faint.png", (255, 204, 204)),
        ("CMYK", (0, 255, 255, 0), "print.jpg", (255, 0, 0)),
        ("CMYK", (255, 0, 0, 0), "print.tif", (0, 255, 255)),
    ],
)
def test_every_mode_becomes_rgb_on_white(
    tmp_path: Path, mode: str, color: float | tuple[int, ...], name: str, expected: tuple[int, ...]
) -> None:
    Image.new(mode, (8, 8), color).save(tmp_path / name)
    assert load_image(tmp_path / name).mode == "RGB"
    assert close(pixel(tmp_path / name), expected)


@pytest.mark.parametrize("transparency", [1, bytes([255, 0])])
def test_transparent_palette_entry_becomes_white(tmp_path: Path, transparency: int | bytes) -> None:
    image = Image.new("P", (4, 1), 0)
    image.putpalette([0, 200, 0, 9, 9, 9])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "palette.png", transparency=transparency)
    assert pixel(tmp_path / "palette.png", 0) == (0, 200, 0)
    assert pixel(tmp_path / "palette.png", 1) == (255, 255, 255)


@pytest.mark.parametrize("name", ["deep.png", "deep.tif"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path, name: str) -> None:
    Image.fromarray(np.arange(256, dtype=np.uint16)[None] * 257).save(tmp_path / name)
    assert np.asarray(load_image(tmp_path / name))[0, :, 1].tolist() == list(range(256))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0.0, 0.5, 1.0]], dtype=np.float32), [0, 128, 255]),
        (np.array([[-10.0, 0.0, 10.0]], dtype=np.float32), [0, 128, 255]),
        (np.array([[np.nan, 0.2, 1.0]], dtype=np.float32), [0, 51, 255]),
        (np.array([[300.0, 300.0, 300.0]], dtype=np.float32), [0, 0, 0]),
        (np.array([[0, 257, 65535]], dtype=np.int32), [0, 1, 255]),
        (np.array([[0, 1 << 19, 1 << 20]], dtype=np.int32), [0, 128, 255]),
    ],
)
def test_wide_grey_values_are_scaled(tmp_path: Path, values: np.ndarray, expected: list[int]) -> None:
    Image.fromarray(values).save(tmp_path / "wide.tif")
    assert np.asarray(load_image(tmp_path / "wide.tif"))[0, :, 0].tolist() == expected


def test_truncated_file_is_named(truncated: Path) -> None:
    with pytest.raises(BadImageError, match=r"truncated\.jpg: is truncated; replace or delete it$"):
        load_image(truncated)


@pytest.mark.parametrize(("content", "reason"), [(b"", "is empty"), (b"no image\n", "is text, and no image")])
def test_file_that_is_no_image_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "text.jpg").write_bytes(content)
    with pytest.raises(BadImageError) as caught:
        load_image(tmp_path / "text.jpg")
    assert caught.value.reason == reason
    assert str(tmp_path / "text.jpg") in str(caught.value)


def test_file_broken_inside_is_one_line(tmp_path: Path) -> None:
    noise(64, 64).save(tmp_path / "broken.png")
    content = bytearray((tmp_path / "broken.png").read_bytes())
    content[200:300] = bytes(100)
    (tmp_path / "broken.png").write_bytes(content)
    with pytest.raises(BadImageError) as caught:
        load_image(tmp_path / "broken.png")
    assert "\n" not in str(caught.value)


def test_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise(30, 30).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)
    with pytest.raises(BadImageError, match=r"bomb\.png: is larger than Pillow's limit .* \(800 pixels\)"):
        load_image(tmp_path / "bomb.png")


def test_vanished_file_is_no_bad_image(tmp_path: Path) -> None:
    with pytest.raises(TlftError, match=r"gone\.jpg: the file vanished") as caught:
        load_image(tmp_path / "gone.jpg")
    assert not isinstance(caught.value, BadImageError)


def test_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(BadImageError(Path("a.jpg"), "is empty")))
    assert str(error) == "a.jpg: is empty; replace or delete it"


# one transform


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(37, 53), (53, 37), (64, 64), (301, 97), (7, 9), (33, 200)])
@pytest.mark.parametrize(("resize", "crop"), [(32, 28), (33, 28), (28, 28), (20, 31), (21, 40)])
def test_pixels_are_torchvisions_bit_for_bit(interpolation: str, size: tuple[int, int], resize: int, crop: int) -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    image = noise(*size)
    mode = transforms.InterpolationMode(interpolation)
    expected = transforms.CenterCrop(crop)(transforms.Resize(resize, interpolation=mode)(image))
    pixels = resize_and_crop(image, Transform(resize, crop, interpolation, HALF, HALF))
    assert np.array_equal(pixels, np.asarray(expected))


def test_image_too_narrow_to_scale_is_bad(tmp_path: Path) -> None:
    noise(1, 60_000).save(tmp_path / "thread.png")
    transform = Transform(256, 224, "bilinear", HALF, HALF)
    with pytest.raises(BadImageError, match=r"thread\.png: is too narrow to be scaled \(1 x 60000 pixels\)"):
        decode_images(digests_of(tmp_path / "thread.png"), transform, tmp_path / "cache")


# many files


def images_of(decoded: DecodedImages) -> dict[str, np.ndarray]:
    return {digest: decoded.pixels.centre(row) for digest, row in decoded.rows.items()}


def check_crops(decoded: DecodedImages, files: dict[str, Path], transform: Transform) -> None:
    for digest, image in images_of(decoded).items():
        assert np.array_equal(image, resize_and_crop(load_image(files[digest]), transform)), files[digest]


def test_rows_hold_the_pixels_of_their_files(photographs: dict[str, Path], tmp_path: Path) -> None:
    decoded = decode_images(photographs, SMALL, tmp_path / "cache")
    assert len(decoded.rows) == 6
    for digest, path in photographs.items():
        assert np.array_equal(decoded.pixels.centre(decoded.rows[digest]), resize_and_crop(load_image(path), SMALL))
    rows = np.array([4, 0, 4])
    batch = decoded.pixels[rows]
    assert batch.shape == (3, 8, 8, 3)
    assert batch.dtype == np.uint8
    assert all(np.array_equal(one, decoded.pixels.centre(row)) for one, row in zip(batch, rows, strict=True))
    batch[0] = 0  # a batch may be changed (flipped), and its images stay as they are
    assert not np.array_equal(batch[0], decoded.pixels[rows][0])


def test_whole_images_are_there_for_other_crops(photographs: dict[str, Path], tmp_path: Path) -> None:
    decoded = decode_images(photographs, SMALL, tmp_path / "cache")
    for digest, path in photographs.items():
        whole = decoded.pixels.whole(decoded.rows[digest])
        assert np.array_equal(whole, np.asarray(scale(load_image(path), SMALL)))


def test_more_files_than_wait_at_once_keep_their_order(tmp_path: Path) -> None:
    paths = [tmp_path / f"{level}.png" for level in range(80)]
    for level, path in enumerate(paths):
        Image.new("L", (8, 8), level).save(path)
    decoded = decode_images(digests_of(*paths), SMALL, tmp_path / "cache", workers=3)
    levels = [int(decoded.pixels.centre(decoded.rows[digest])[0, 0, 0]) for digest in digests_of(*paths)]
    assert levels == list(range(80))


def test_second_call_decodes_nothing(photographs: dict[str, Path], tmp_path: Path, calls: list[Path]) -> None:
    first = decode_images(photographs, SMALL, tmp_path / "cache")
    renormalised = Transform(SMALL.resize, SMALL.crop, SMALL.interpolation, (0, 0, 0), (1, 1, 1))
    shuffled = dict(reversed(photographs.items()))
    second = decode_images(shuffled, renormalised, tmp_path / "cache")
    assert len(calls) == 6
    assert images_of(first).keys() == images_of(second).keys() == photographs.keys()
    assert all(np.array_equal(image, images_of(second)[digest]) for digest, image in images_of(first).items())


@pytest.mark.parametrize(("resize", "interpolation"), [(11, "bilinear"), (10, "bicubic")])
def test_another_size_or_interpolation_is_decoded_apart(
    photographs: dict[str, Path], tmp_path: Path, calls: list[Path], resize: int, interpolation: str
) -> None:
    decode_images(photographs, SMALL, tmp_path / "cache")
    other = Transform(resize, 8, interpolation, HALF, HALF)
    decoded = decode_images(photographs, other, tmp_path / "cache")
    assert len(calls) == 12
    check_crops(decoded, photographs, other)


@pytest.mark.parametrize("crop", [1, 7, 10, 13, 40, 41])
def test_another_crop_decodes_nothing_anew(
    photographs: dict[str, Path], tmp_path: Path, calls: list[Path], crop: int
) -> None:
    decode_images(photographs, SMALL, tmp_path / "cache")
    other = Transform(10, crop, "bilinear", HALF, HALF)
    check_crops(decode_images(photographs, other, tmp_path / "cache"), photographs, other)
    assert len(calls) == (6 if crop <= 40 else 12)  # beyond what is kept of a long image


def test_only_what_is_new_is_decoded(photographs: dict[str, Path], tmp_path: Path, calls: list[Path]) -> None:
    (first, path), *rest = photographs.items()
    decode_images(dict(rest), SMALL, tmp_path / "cache")
    assert len(calls) == 5
    decode_images(photographs, SMALL, tmp_path / "cache")
    assert calls[5:] == [path]
    subset = decode_images({first: path, rest[3][0]: rest[3][1]}, SMALL, tmp_path / "cache")
    assert len(calls) == 6
    assert list(subset.rows.values()) == [0, 1]
    check_crops(subset, photographs, SMALL)


ODD_SIZES = [(1, 1), (1, 90), (90, 1), (3, 2), (8, 8), (10, 10), (41, 10), (10, 47), (500, 7), (6, 777), (33, 200)]


@pytest.mark.parametrize(("resize", "crop"), [(10, 8), (10, 9), (11, 11), (10, 13), (7, 30), (16, 16)])
def test_odd_shapes_keep_their_bits(tmp_path: Path, resize: int, crop: int) -> None:
    """Also images smaller than the crop, a pixel wide, and so long that only their middle is kept."""
    paths = [tmp_path / f"{width}x{height}.png" for width, height in ODD_SIZES]
    for seed, (path, size) in enumerate(zip(paths, ODD_SIZES, strict=True)):
        noise(*size, seed).save(path)
    transform = Transform(resize, crop, "bilinear", HALF, HALF)
    files = digests_of(*paths)
    decoded = decode_images(files, transform, tmp_path / "cache")
    check_crops(decoded, files, transform)
    other = replace(transform, crop=6)  # out of what lies in pieces
    check_crops(decode_images(files, other, tmp_path / "cache"), files, other)
    sizes = [decoded.pixels.whole(row).shape for row in range(len(ODD_SIZES))]
    assert all(min(size[:2]) == resize and max(size[:2]) < max(4 * resize, 5 * crop) + 4 for size in sizes)


ODD_INPUTS = Path(__file__).parents[4] / "shared" / "odd_inputs" / "make.py"


def test_odd_files_keep_their_bits(tmp_path: Path) -> None:
    if not ODD_INPUTS.exists():
        pytest.skip("the folder of odd inputs is not here")
    subprocess.run([sys.executable, ODD_INPUTS, tmp_path / "odd", "all"], capture_output=True)
    paths = [path for path in (tmp_path / "odd").rglob("*") if path.is_file()]
    files = digests_of(*paths)
    assert len(files) > 50
    transform = Transform(40, 36, "bicubic", HALF, HALF)
    decoded = decode_all(files, transform, tmp_path / "cache")
    assert decoded.rows.keys() | decoded.bad.keys() == files.keys()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_crops(decoded, files, transform)
    for digest, reason in decoded.bad.items():
        with pytest.raises(BadImageError, match=re.escape(reason)), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            decode.load_pixels(files[digest], transform)


def test_threads_that_ask_at_once_decode_once(photographs: dict[str, Path], tmp_path: Path, calls: list[Path]) -> None:
    barrier = threading.Barrier(3)
    results: list[DecodedImages] = []

    def ask() -> None:
        barrier.wait()
        results.append(decode_images(photographs, SMALL, tmp_path / "cache"))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    assert len(calls) == 6


def test_first_bad_file_is_the_error_and_the_others_are_counted(
    photographs: dict[str, Path], truncated: Path, tmp_path: Path
) -> None:
    (tmp_path / "text.jpg").write_text("no image")
    files = digests_of(tmp_path / "text.jpg", *photographs.values(), truncated)
    message = r"text\.jpg: is text, and no image \(1 more bad\); .*data\.on_bad_image=skip$"
    with pytest.raises(BadImageError, match=message):
        decode_images(files, SMALL, tmp_path / "cache")


def test_known_bad_file_fails_without_decoding_again(truncated: Path, tmp_path: Path, calls: list[Path]) -> None:
    for _ in range(2):
        with pytest.raises(BadImageError, match=r"truncated\.jpg: is truncated"):
            decode_images(digests_of(truncated), SMALL, tmp_path / "cache")
    assert len(calls) == 1


def test_skipped_files_are_named_and_counted_even_from_the_cache(
    photographs: dict[str, Path], truncated: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = photographs | digests_of(truncated)
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            decoded = decode_images(files, SMALL, tmp_path / "cache", on_bad_image="skip")
        assert caplog.messages == [f"skipped {truncated}: is truncated", "skipped 1 of 7 images"]
        assert decoded.bad == dict.fromkeys(digests_of(truncated), "is truncated")
        assert decoded.rows.keys() == photographs.keys()


def test_large_image_below_the_limit_gives_no_warning(
    photographs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 150)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert not decode_images(photographs, SMALL, tmp_path / "cache", on_bad_image="skip").bad
    assert not caught


def test_changed_file_is_not_cached_under_its_old_digest(photographs: dict[str, Path], tmp_path: Path) -> None:
    changed = next(iter(photographs.values()))
    noise(20, 20, seed=99).save(changed)
    with pytest.raises(TlftError, match="the file changed after its digest was taken; start again"):
        decode_images(photographs, SMALL, tmp_path / "cache")


def test_vanished_file_ends_decoding(photographs: dict[str, Path], tmp_path: Path) -> None:
    next(iter(photographs.values())).unlink()
    with pytest.raises(TlftError, match="the file vanished"):
        decode_images(photographs, SMALL, tmp_path / "cache", on_bad_image="skip")


# the cache folder


@pytest.fixture
def cache(photographs: dict[str, Path], tmp_path: Path) -> Path:
    """Return a cache that has the photographs."""
    decode_images(photographs, SMALL, tmp_path / "cache")
    return tmp_path / "cache"


def store_in(cache: Path) -> Path:
    (folder,) = (entry for entry in cache.iterdir() if entry.is_dir())
    return folder


def shard_in(cache: Path) -> Path:
    (shard,) = shards_of(store_in(cache))
    return shard


def cut(path: Path, kept: int) -> None:
    path.write_bytes(path.read_bytes()[:kept])


def change(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "no records": lambda shard: (shard / "records.bin").unlink(),
    "no index": lambda shard: (shard / "index.npy").unlink(),
    "records cut": lambda shard: cut(shard / "records.bin", -100),
    "records empty": lambda shard: cut(shard / "records.bin", 0),
    "index cut": lambda shard: cut(shard / "index.npy", -10),
    "index empty": lambda shard: cut(shard / "index.npy", 0),
    "index of another kind": lambda shard: np.save(shard / "index.npy", np.zeros(6)),
    "no folder": shutil.rmtree,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("other_process", [False, True])
def test_damaged_shard_is_decoded_anew(
    photographs: dict[str, Path], cache: Path, calls: list[Path], damage: str, other_process: bool
) -> None:
    DAMAGES[damage](shard_in(cache))
    if other_process:
        open_store.cache_clear()
    elif damage.startswith("index") or damage == "no index":
        pytest.skip("this process has read the index")
    check_crops(decode_images(photographs, SMALL, cache), photographs, SMALL)
    assert len(calls) == 6
    open_store.cache_clear()
    decode_images(photographs, SMALL, cache)
    assert len(calls) == 6


def test_changed_byte_is_found_when_its_record_is_first_read(
    photographs: dict[str, Path], cache: Path, calls: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    change(shard_in(cache) / "records.bin", 300)
    open_store.cache_clear()
    decoded = decode_images(photographs, SMALL, cache)
    assert not calls  # the records are not looked at yet
    check_crops(decoded, photographs, SMALL)
    assert len(calls) == 1
    assert [record.message.partition(": ")[2] for record in caplog.records] == [
        "decoded images that are damaged or deleted: 1; decoding them anew"
    ]
    open_store.cache_clear()
    check_crops(decode_images(photographs, SMALL, cache), photographs, SMALL)
    assert len(calls) == 1


def test_threads_that_meet_damage_at_once_decode_once(
    photographs: dict[str, Path], cache: Path, calls: list[Path]
) -> None:
    data = (shard_in(cache) / "records.bin").read_bytes()
    (shard_in(cache) / "records.bin").write_bytes(data[:64] + bytes(byte ^ 1 for byte in data[64:]))
    open_store.cache_clear()
    pixels = decode_images(photographs, SMALL, cache).pixels
    with ThreadPoolExecutor(6) as pool:
        images = list(pool.map(pixels.centre, range(6)))
    expected = [resize_and_crop(load_image(path), SMALL) for path in photographs.values()]
    assert all(np.array_equal(*pair) for pair in zip(images, expected, strict=True))
    assert len(calls) == 6


def test_damaged_record_of_a_file_that_has_gone_is_one_line(photographs: dict[str, Path], cache: Path) -> None:
    change(shard_in(cache) / "records.bin", 100)
    open_store.cache_clear()
    pixels = decode_images(photographs, SMALL, cache).pixels
    for path in photographs.values():
        path.unlink()
    with pytest.raises(TlftError, match="the file vanished"):
        pixels[np.arange(6)]


def test_damaged_reason_is_found_anew(truncated: Path, tmp_path: Path, calls: list[Path]) -> None:
    files = digests_of(truncated)
    decode_all(files, SMALL, tmp_path / "cache")
    change(shard_in(tmp_path / "cache") / "records.bin", 66)
    open_store.cache_clear()
    assert decode_all(files, SMALL, tmp_path / "cache").bad == dict.fromkeys(files, "is truncated")
    assert len(calls) == 2


def test_images_that_are_deleted_stay_with_who_has_them_open(
    photographs: dict[str, Path], cache: Path, calls: list[Path]
) -> None:
    decoded = decode_images(photographs, SMALL, cache)
    shutil.rmtree(shard_in(cache))
    check_crops(decoded, photographs, SMALL)
    assert not calls
    other = decode_images(photographs, SMALL, cache)
    assert len(calls) == 6
    for images in (decoded, other):
        check_crops(images, photographs, SMALL)


def test_cache_that_may_only_be_read_is_read(
    photographs: dict[str, Path], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    for call in ("os.utime", "os.mkdir", "os.open", "os.rename"):
        monkeypatch.setattr(call, refuse)
    open_store.cache_clear()
    decoded = decode_images(photographs, SMALL, cache)
    monkeypatch.undo()
    check_crops(decoded, photographs, SMALL)


def test_interrupted_decoding_keeps_what_is_done(
    photographs: dict[str, Path], tmp_path: Path, calls: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    *_, last = photographs.values()
    counted = decode.load_scaled

    def interrupted(path: Path, transform: Transform, digest: str) -> np.ndarray:
        if path == last:
            raise KeyboardInterrupt
        return counted(path, transform, digest)

    with monkeypatch.context() as patch:
        patch.setattr(decode, "load_scaled", interrupted)
        with pytest.raises(KeyboardInterrupt):
            decode_images(photographs, SMALL, tmp_path / "cache")
    check_crops(decode_images(photographs, SMALL, tmp_path / "cache"), photographs, SMALL)
    assert len(calls) == 6


def test_former_caches_are_not_used_and_said_once(
    photographs: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    former = tmp_path / "cache" / ("0" * 64)
    former.mkdir(parents=True)
    np.save(former / "images.npy", np.zeros((6, 8, 8, 3), np.uint8))
    (former / "index.json").write_text('{"format": 2, "rows": {}, "bad": {}}')
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            check_crops(decode_images(photographs, SMALL, tmp_path / "cache"), photographs, SMALL)
    (line,) = [message for message in caplog.messages if "earlier version" in message]
    assert line.endswith(
        "cache: decoded images of an earlier version are not used any more; python -m tlft.clean --yes deletes them"
    )


def test_full_disk_names_the_folder(
    photographs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    message = r"cache/10-bilinear-[^/]+: cannot write the decoded images \(No space left on device\); free space there"
    with pytest.raises(TlftError, match=message):
        decode_images(photographs, SMALL, tmp_path / "cache")
    assert not list(store_in(tmp_path / "cache").iterdir())


def test_a_cache_that_may_not_be_written_is_not_said_to_be_full(
    photographs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("tlft.storage.records.one_at_a_time", refuse)
    with pytest.raises(TlftError, match=r"\(Read-only file system\); let it be written to, or set paths.home"):
        decode_images(photographs, SMALL, tmp_path / "cache")


def test_cache_that_is_a_file_is_one_line(photographs: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(TlftError, match="cannot write the decoded images"):
        decode_images(photographs, SMALL, tmp_path / "cache")
