from __future__ import annotations

import io
import warnings
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tlft.evaluation import plots
from tlft.evaluation.lettering import fit, font
from tlft.evaluation.plots import GalleryItem, draw_confusion, draw_gallery, select_for_gallery

RIGHT = GalleryItem(np.full((64, 64, 3), 128, dtype=np.uint8), "ants", "ants", 0.9, 0.9, correct=True)
WRONG = replace(RIGHT, predicted="bees", correct=False)
TILE_AND_GAP = plots._TILE + plots._GAP


def red(image: Image.Image) -> np.ndarray:
    """Tell which pixels are clearly red, bool [h, w]."""
    pixels = np.asarray(image, dtype=np.int64)
    clear: np.ndarray = pixels[..., 0] - pixels[..., 1:].max(axis=-1) > 60
    return clear


def tile(image: Image.Image, column: int) -> Image.Image:
    """Cut a picture of the first line, with its caption."""
    left = plots._GAP + column * TILE_AND_GAP
    return image.crop((left, plots._HEADER, left + plots._TILE, plots._HEADER + plots._TILE + plots._CAPTION))


def decoded(png: bytes) -> np.ndarray:
    assert png.startswith(b"\x89PNG")
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=np.int64)


# which images


def test_most_confident_mistakes_come_first() -> None:
    correct = np.array([True, False, True, False, False])
    chosen = select_for_gallery(correct, np.array([0.9, 0.6, 0.8, 0.99, 0.7]), np.array([0, 1, 1, 0, 0]))
    assert chosen == [3, 4, 1, 0, 2]


def test_correct_images_alternate_between_classes() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 2])
    assert select_for_gallery(np.ones(7, dtype=bool), np.ones(7), labels) == [0, 4, 6, 1, 5, 2, 3]


def test_equally_confident_mistakes_keep_their_order() -> None:
    assert select_for_gallery(np.zeros(30, dtype=bool), np.ones(30), np.zeros(30, dtype=int)) == list(range(20))


def test_choice_is_cut_to_the_count() -> None:
    assert select_for_gallery(np.ones(9, dtype=bool), np.ones(9), np.arange(9) % 3, count=4) == [0, 1, 2, 3]


def test_choice_from_no_image_is_empty() -> None:
    assert select_for_gallery(np.zeros(0, dtype=bool), np.zeros(0), np.zeros(0, dtype=int)) == []


# gallery


def gallery(items: list[GalleryItem]) -> Image.Image:
    return draw_gallery(items, sum(not item.correct for item in items), len(items))


def test_full_gallery_has_four_rows_of_five() -> None:
    assert gallery([RIGHT] * 20).size == (984, 970)
    assert gallery([RIGHT] * 35).size == (984, 970)


@pytest.mark.parametrize(("count", "height"), [(0, 268), (1, 268), (5, 268), (6, 502)])
def test_gallery_is_as_high_as_its_lines(count: int, height: int) -> None:
    assert gallery([RIGHT] * count).size == (984, height)


def test_empty_gallery_says_so() -> None:
    assert np.asarray(gallery([])).min() < 200


def test_mistakes_are_red_and_first() -> None:
    sheet = gallery([RIGHT, RIGHT, WRONG])
    assert red(tile(sheet, 0)).sum() > 1000
    assert not red(tile(sheet, 1)).any()
    assert not red(tile(sheet, 2)).any()


def test_correct_images_have_no_red() -> None:
    assert not red(gallery([RIGHT] * 20)).any()


def test_mistake_shows_without_colour() -> None:
    right, wrong = (gallery([item]).convert("L") for item in (RIGHT, replace(RIGHT, correct=False)))
    right_corner = (plots._GAP + plots._TILE - 22, plots._HEADER + 6, plots._GAP + plots._TILE - 6, plots._HEADER + 22)
    assert np.ptp(np.asarray(right.crop(right_corner))) == 0
    assert np.ptp(np.asarray(wrong.crop(right_corner))) > 100


def test_mistake_caption_is_red() -> None:
    caption = tile(gallery([WRONG]), 0).crop((0, plots._TILE + 22, plots._TILE, plots._TILE + 40))
    assert red(caption).any()


def test_long_name_is_shortened_to_the_room() -> None:
    letters = font(13)
    short = fit("a name of a class that nobody can read at a glance", letters, 120)
    assert short.endswith("…")
    assert letters.getlength(short) <= 120
    assert fit("ants", letters, 120) == "ants"


def test_line_break_in_a_name_is_a_space() -> None:
    assert fit("red\nants", font(13), 120) == "red ants"


def test_long_names_stay_inside_their_tile() -> None:
    sheet = gallery([replace(RIGHT, label="w" * 200, predicted="w" * 200)])
    beside = sheet.crop((plots._GAP + plots._TILE, plots._HEADER, sheet.width, sheet.height))
    assert np.asarray(beside).min() == 255


@pytest.mark.parametrize("name", ["Straßenbahn", "Муравей", "μέλισσα", "نملة", "žlutý"])
def test_letters_of_many_scripts_are_in_the_font(name: str) -> None:
    missing = font(13).getmask("\U0010fffe").getbbox()
    assert missing is not None
    drawn = {bytes(font(13).getmask(letter)) for letter in set(name)}
    assert bytes(font(13).getmask("\U0010fffe")) not in drawn
    gallery([replace(RIGHT, label=name, predicted=name)])


@pytest.mark.parametrize("shape", [(1, 1, 3), (40, 200, 3), (500, 30, 3), (299, 299, 3)])
def test_images_of_any_shape_are_drawn(shape: tuple[int, int, int]) -> None:
    item = replace(RIGHT, pixels=np.zeros(shape, dtype=np.uint8))
    assert np.asarray(tile(gallery([item]), 0).crop((88, 88, 92, 92))).max() == 0


# confusion matrix


def test_diagonal_is_dark_and_mistakes_are_pale() -> None:
    picture = decoded(draw_confusion(np.array([[70, 0], [0, 83]]), ["ants", "bees"], ["ants", "bees"], "all correct"))
    blue = picture[..., 2] - picture[..., 0] > 60
    columns, rows = np.flatnonzero(blue.any(axis=0)), np.flatnonzero(blue.any(axis=1))
    middle_x, middle_y = columns.mean(), rows.mean()
    y, x = np.nonzero(blue)
    assert (((x < middle_x) == (y < middle_y)).mean()) > 0.98


def test_other_column_widens_the_picture() -> None:
    names = ["ants", "bees"]
    two = decoded(draw_confusion(np.array([[5, 1], [0, 6]]), names, names, "t"))
    three = decoded(draw_confusion(np.array([[5, 0, 1], [0, 6, 0]]), names, [*names, "other"], "t"))
    assert three.shape[1] > two.shape[1]
    assert abs(three.shape[0] - two.shape[0]) <= 2


def test_cells_show_counts_and_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setattr("matplotlib.axes.Axes.text", lambda self, x, y, s, **style: written.append(s))
    draw_confusion(np.array([[3, 1], [0, 0]]), ["ants", "bees"], ["ants", "bees"], "t")
    assert written == ["3", "75%", "1", "25%", "0", "0%", "0", "0%"]


@pytest.fixture(scope="module")
def forty() -> bytes:
    names = [f"species {i}" for i in range(40)]
    return draw_confusion(np.eye(40, dtype=np.int64) * 9, names, names, "forty classes")


def test_forty_classes_fit_a_screen(forty: bytes) -> None:
    height, width, _ = decoded(forty).shape
    assert 600 < height < 1600
    assert 600 < width < 1600


def test_many_classes_have_no_text_in_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setattr("matplotlib.axes.Axes.text", lambda self, x, y, s, **style: written.append(s))
    names = [f"species {i}" for i in range(15)]
    draw_confusion(np.eye(15, dtype=np.int64), names, names, "t")
    assert not written


def test_hundreds_of_classes_make_no_larger_picture() -> None:
    names = [f"species {i}" for i in range(300)]
    height, width, _ = decoded(draw_confusion(np.eye(300, dtype=np.int64), names, names, "t")).shape
    assert max(height, width) < 1800


def test_names_are_drawn_as_they_are_and_without_warnings() -> None:
    names = ["$x_{1$ of $", "Муравей", "蚂蚁", "a very long name of a class that goes on and on", "red\nant"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = decoded(draw_confusion(np.eye(5, dtype=np.int64), names, names, "a $title_{ of $ too"))
    assert picture.shape[1] < 900


def test_long_class_name_is_cut() -> None:
    assert plots._cut("a very long name of a class") == "a very long name…"
    assert plots._cut("ants") == "ants"


def test_what_was_drawn_before_leaves_no_trace_in_a_matrix() -> None:
    few, many = ["ants", "bees"], [f"class {number}" for number in range(20)]
    matrices = [
        (np.array([[3, 1], [0, 4]]), few, few, "a title"),
        (np.arange(400).reshape(20, 20) % 7, many, many, "many"),
        (np.array([[1, 3], [2, 2]]), few, few, "another title, which is longer"),
    ]
    first = []
    for matrix in matrices:
        plots._grid.cache_clear()
        first.append(draw_confusion(*matrix))
    for order in ([0, 2, 1], [1, 0, 2], [2, 2, 0]):
        assert [draw_confusion(*matrices[index]) for index in order] == [first[index] for index in order]


def test_of_many_classes_those_are_drawn_that_are_confused(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix, drawn = np.eye(1000, 1001, dtype=np.int64) * 9, []
    matrix[7, 900], matrix[900, 12], matrix[500, -1] = 5, 4, 3
    names = [f"species {index}" for index in range(1000)]

    def grid(rows: tuple[str, ...], columns: tuple[str, ...]) -> object:
        drawn.append((rows, columns))
        return of_module(rows, columns)

    of_module = plots._grid
    monkeypatch.setattr(plots, "_grid", grid)
    picture = draw_confusion(matrix, names, [*names, "other"], "t")
    (rows, columns), *_ = drawn
    assert len(rows) == 40
    assert {"species 7 (14)", "species 12 (9)", "species 900 (13)"} <= set(rows)
    assert list(rows) == sorted(rows, key=lambda row: int(row.split()[1]))
    assert columns[-1] == "all others"
    assert len(columns) == 41
    assert max(decoded(picture).shape) < 1600


@pytest.mark.parametrize(
    ("pairs", "outside", "says"),
    [
        (0, 0, "40 of 1000 classes, none of which is taken for another"),
        (0, 3, "40 of 1000 classes, none of which is taken for another"),
        (1, 0, "the 2 of 1000 classes that are confused with one another, and 38 others"),
        (19, 2, "the 38 of 1000 classes that are confused with one another, and 2 others"),
        (20, 0, "the 40 of 1000 classes that are confused with one another"),
        (300, 9, "the 40 of 1000 classes that are most often confused with one another"),
    ],
)
def test_the_title_says_how_many_of_many_classes_are_confused(pairs: int, outside: int, says: str) -> None:
    matrix = np.eye(1000, 1001, dtype=np.int64) * 9
    for number in range(pairs):
        matrix[999 - 2 * number, 998 - 2 * number] = 1 + number % 5
    matrix[300 : 300 + outside, -1] = 4
    shown, confused = plots._most_confused(matrix)
    assert plots._describe_shown(len(shown), confused, 1000) == says
    assert len(shown) == 40
    assert confused == 2 * pairs
    assert set(range(1000 - 2 * pairs, 1000)) <= set(shown) or confused > 40
    if confused + outside <= 40:
        assert set(range(300, 300 + outside)) <= set(shown), "what is missed comes before what is not"


def test_the_title_of_a_picture_has_what_it_says_of_the_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    titles: list[str] = []
    monkeypatch.setattr("matplotlib.axes.Axes.set_title", lambda self, text, **style: titles.append(text))
    for classes in (50, 51):
        names = [f"species {index}" for index in range(classes)]
        draw_confusion(np.eye(classes, dtype=np.int64), names, names, "a run")
    assert titles == ["a run", "a run: 40 of 51 classes, none of which is taken for another"]
