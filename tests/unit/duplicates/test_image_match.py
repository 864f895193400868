"""Copies are told from images that are merely alike: something in the middle of an even ground, or nothing at all."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from fabricated import scene
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from sklearn.datasets import load_digits

from tlft.duplicates.image_match import Appearance, appearance_of, is_copy

Alter = Callable[[Image.Image], Image.Image]


def look(image: Image.Image) -> Appearance:
    return appearance_of(np.asarray(image.convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)))


def jpeg(image: Image.Image, quality: int = 85) -> Image.Image:
    file = io.BytesIO()
    image.convert("RGB").save(file, "jpeg", quality=quality)
    return Image.open(file)


def digits(count: int) -> tuple[list[Image.Image], Sequence[int]]:
    """Return handwritten digits as MNIST has them, 20 pixels high in 28, and what each of them is."""
    drawn = load_digits()
    small = [Image.fromarray((pixels * 15.9).astype(np.uint8)).resize((20, 20)) for pixels in drawn.images[:count]]
    return [ImageOps.expand(image, 4) for image in small], drawn.target[:count]


def cells(count: int) -> list[Image.Image]:
    """Draw cells with a nucleus each, on one ground."""
    images = []
    for seed in range(count):
        middle, radius, shift, nucleus = np.random.default_rng(seed).normal([64, 30, 0, 12], [3, 4, 7, 2])
        image = Image.new("RGB", (128, 128), (200, 190, 200))
        draw = ImageDraw.Draw(image)
        draw.circle((middle, 64), radius, (170, 130, 180))
        draw.circle((middle + shift, 64 - shift / 2), nucleus, (90, 40, 140))
        images.append(image)
    return images


ALTERED: dict[str, Alter] = {
    "compressed": lambda image: jpeg(image, 30),
    "enlarged": lambda image: image.resize((image.width * 2, image.height * 2), Image.Resampling.BICUBIC),
    "brightened": lambda image: jpeg(ImageEnhance.Brightness(image).enhance(1.2)),
    "darkened": lambda image: jpeg(ImageEnhance.Brightness(image).enhance(0.8)),
    "grey": ImageOps.grayscale,
    "cut": lambda image: jpeg(image.crop((0, 0, round(image.width * 0.96), round(image.height * 0.97)))),
}


@pytest.mark.parametrize("alter", ALTERED.values(), ids=ALTERED)
def test_copy_is_known_whatever_was_done_to_it(alter: Alter) -> None:
    originals = [*digits(8)[0], *cells(5), *(scene(seed) for seed in range(500, 505))]
    assert [is_copy(look(image), look(alter(image))) for image in originals] == [True] * len(originals)


def test_copy_in_half_the_size_is_known() -> None:
    images = [*cells(5), *(scene(seed) for seed in range(5))]
    assert all(is_copy(look(image), look(image.resize((image.width // 2, image.height // 2)))) for image in images)


def test_mirror_image_is_known() -> None:
    for image in (*digits(5)[0], *cells(5)):
        assert is_copy(look(image), look(jpeg(ImageOps.mirror(image))).mirrored)


def test_no_digit_is_a_copy_of_another() -> None:
    images, names = digits(70)
    looks = [look(image) for image in images]
    pairs = [pair for pair in itertools.combinations(range(len(looks)), 2) if names[pair[0]] == names[pair[1]]]
    assert len(pairs) > 200
    assert [pair for pair in pairs if is_copy(looks[pair[0]], looks[pair[1]])] == []


def test_no_cell_is_a_copy_of_another() -> None:
    looks = [look(image) for image in cells(14)]
    assert [1 for one, other in itertools.combinations(looks, 2) if is_copy(one, other)] == []


def test_images_of_nothing_are_copies_only_if_their_color_is_the_same() -> None:
    colors = ["black", "white", "red", "green", "blue", "gray", "orange", "navy"]
    looks = [look(Image.new("RGB", (64, 64), color)) for color in colors]
    assert [1 for one, other in itertools.combinations(looks, 2) if is_copy(one, other)] == []
    assert all(
        is_copy(look(Image.new("RGB", (90, 80), color)), seen) for color, seen in zip(colors, looks, strict=True)
    )
    assert not is_copy(looks[0], look(cells(1)[0]))


def test_one_shape_in_two_colors_is_two_pictures() -> None:
    def product(color: str) -> Appearance:
        image = Image.new("RGB", (128, 128), "white")
        ImageDraw.Draw(image).rounded_rectangle((30, 40, 100, 90), 12, color)
        return look(image)

    assert not is_copy(product("#c03030"), product("#3060c0"))
    assert is_copy(product("#c03030"), product("#b53838"))


def test_products_of_one_form_are_told_apart_by_their_colors_whatever_hue_or_tone() -> None:
    def product(color: str, exposure: float = 1.0) -> Appearance:
        image = Image.new("RGB", (96, 96), "white")
        ImageDraw.Draw(image).rectangle((24, 30, 72, 70), color)
        return look(jpeg(ImageEnhance.Brightness(image).enhance(exposure)))

    colors = ["#800080", "#c800c8", "#801010", "#c86414", "#14783c", "#96b4c8", "#909090", "#c8c8c8"]
    for one, other in itertools.combinations(colors, 2):
        assert not is_copy(product(one), product(other)), (one, other)
    for color, exposure in itertools.product(colors, (0.8, 1.0, 1.2)):
        assert is_copy(product(color), product(color, exposure)), (color, exposure)


def chest(seed: int, pixels: int = 96) -> Image.Image:
    """Draw two lungs and a spine, always the same, with a dozen faint spots of their own."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:pixels, :pixels] / pixels - 0.5
    field = 120 * np.exp(-((np.abs(x) - 0.2) ** 2 / 0.02 + y**2 / 0.12)) + 60 * np.exp(-(x**2) / 0.003)
    for _ in range(12):
        down, right = random.uniform(-0.4, 0.4, 2)
        spot = np.exp(-((x - right) ** 2 + (y - down) ** 2) / random.uniform(0.001, 0.01))
        field += random.uniform(-15, 15) * spot
    return Image.fromarray(np.clip(field + random.normal(0, 3, field.shape), 0, 255).astype(np.uint8))


def test_what_all_images_of_a_kind_share_makes_none_a_copy_of_another() -> None:
    looks = [look(chest(seed)) for seed in range(24)]
    shared = [np.mean([seen.grey for seen in looks], axis=0)]
    pairs = list(itertools.combinations(looks, 2))
    assert sum(is_copy(one, other) for one, other in pairs) > 10
    assert sum(is_copy(one, other, shared) for one, other in pairs) == 0
    for name in ("compressed", "enlarged", "brightened", "darkened"):
        assert all(is_copy(looks[seed], look(ALTERED[name](chest(seed))), shared) for seed in range(6)), name
