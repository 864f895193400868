"""The report: one file that needs nothing beside it, in which whatever a user named stays text."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fabricated import FINE_TUNE, FROM_SCRATCH, ZERO_SHOT, predict, run
from PIL import Image

from analysis.comparison_table import add_evidence, build_table
from analysis.footnotes import footnotes
from analysis.image_review import compare_photographs, draw_thumbnails
from analysis.report import MAX_CHARACTERS, Material, _confusion, _environment, main, render_report
from analysis.template_context import draw_runs

IMAGES = 40
EVIL = "<script>alert(1)</script>"


def photograph(root: Path, number: int) -> tuple[str, str]:
    """Write an image; returns its name and its SHA-256."""
    path = root / "val" / f"{number}.png"
    path.parent.mkdir(exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 255, (90, 120, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return f"val/{number}.png", hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


@pytest.fixture(scope="module")
def material(root: Path) -> Material:
    names, digests = zip(*(photograph(root, number) for number in range(IMAGES)), strict=True)
    seen = {"file": names, "sha256": digests}
    runs = [
        (run(ZERO_SHOT, 30 / IMAGES), predict(30, closed=38, images=IMAGES).assign(**seen)),
        (run(FROM_SCRATCH, 22 / IMAGES), predict(22, spoiled=5, images=IMAGES).assign(**seen)),
    ]
    for seed, right in enumerate((38, 39, 37)):
        runs.append((run(FINE_TUNE, right / IMAGES, seed=str(seed)), predict(right, images=IMAGES).assign(**seen)))
    return make(runs, (root,))


def make(runs: list[tuple[Any, pd.DataFrame]], roots: tuple[Path, ...] = ()) -> Material:
    frames = {record.run_id: frame for record, frame in runs}
    table = add_evidence(build_table([record for record, _ in runs], command="python -m analysis.report"), frames)
    points = [(epoch, 1 / epoch) for epoch in range(1, 6)]
    curves = {record.run_id: {"train/loss": points} for record, _ in runs if "seed" in record.params}
    return Material(table, frames, curves, roots, ("torch: 2.14",), ("python run.py sweep=comparison",))


@pytest.fixture(scope="module")
def page(material: Material) -> str:
    return render_report(material, "tlft: tests")


def test_it_needs_nothing_beside_it_and_forbids_the_network(page: str) -> None:
    outside = re.findall(r"(?:src|href)=\"(?!data:|#)[^\"]*\"|url\(|@import|https?://(?!www.w3.org/2000/svg)", page)
    assert outside == []
    assert "default-src 'none'; img-src data:;" in page
    assert "unsafe" not in page
    assert 'style="' not in page
    assert len(page) < MAX_CHARACTERS


def test_the_answer_comes_first_then_the_table_then_everything_else(page: str, material: Material) -> None:
    places = [page.index(f'<h2 id="{name}"') for name in re.findall(r'<h2 id="([^"]+)"', page)]
    assert places == sorted(places)
    assert len(places) >= 8
    assert page.index('class="answer">On photos, resnet50: fine-tuned 95.0 %') < places[0]
    for note in footnotes(material.table)[:3]:
        assert note.split("'")[0] in page


def test_photographs_are_shown_most_disputed_first(page: str, material: Material) -> None:
    row = material.table.rows[0]
    photographs = compare_photographs(row, ["zero_shot", "fine_tune", "from_scratch"], material.frames)
    assert len(photographs) == IMAGES
    assert [photo.disagreement for photo in photographs] == sorted(
        (photo.disagreement for photo in photographs), reverse=True
    )
    assert re.findall(r'data-file="([^"]+)"', page) == [photo.file for photo in photographs]
    assert page.count("data:image/jpeg;base64,") == IMAGES


def test_a_file_with_other_bytes_is_not_shown(root: Path, material: Material, tmp_path: Path) -> None:
    photographs = compare_photographs(material.table.rows[0], ["fine_tune"], material.frames)[:3]
    files = [(photo.file, photo.sha256) for photo in photographs]
    (tmp_path / "val").mkdir()
    for photo in photographs:
        (tmp_path / photo.file).write_bytes(b"other")
    assert draw_thumbnails(files, [tmp_path], 10**6) == {}
    assert set(draw_thumbnails(files, [tmp_path, root], 10**6)) == {photo.sha256 for photo in photographs}
    outside = f"../{root.name}/{photographs[0].file}"
    assert draw_thumbnails([(outside, photographs[0].sha256)], [tmp_path, root / "val"], 10**6) == {}


def test_what_does_not_fit_is_counted(material: Material, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = compare_photographs(material.table.rows[0], ["fine_tune"], material.frames)[0]
    size = len(draw_thumbnails([(first.file, first.sha256)], [root], 10**6)[first.sha256])
    monkeypatch.setattr("analysis.report._MAX_PICTURE_CHARACTERS", 3 * size)
    few = render_report(material, "few")
    drawn = few.count("data:image/jpeg")
    assert 1 <= drawn <= 4
    assert f"{IMAGES - drawn} of them are shown by name alone" in few


def test_names_of_users_stay_text() -> None:
    frame = predict(30, images=IMAGES)
    frame = frame.rename(columns={"p/ants": f"p/{EVIL}"}).replace("ants", EVIL)
    frame["file"] = [f"{EVIL}{name}\"'" for name in frame["file"]]
    page = render_report(make([(run(FINE_TUNE, 0.75, data=EVIL), frame)]), EVIL)
    assert EVIL not in page
    assert page.count("<script>") == 1
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_runs_without_predictions_make_a_page_too() -> None:
    table = build_table([run(FINE_TUNE, 0.9), run(FINE_TUNE, 0.8, optimizer__lr="0.1")], published=True)
    page = render_report(Material(add_evidence(table, {}, full=True), {}, {}, (), (), ()), "nothing")
    assert "The predictions of 2 runs cannot be read" in page
    assert "optimizer.lr" in page
    assert "68.627" in page


def test_what_is_not_drawn_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    table = build_table([run(FINE_TUNE, 0.9, optimizer__lr=str(rate)) for rate in range(1, 15)])
    monkeypatch.setattr("analysis.template_context._MAX_CELLS_DRAWN", 10)
    context = draw_runs(table)
    assert (len(context["dots"]), context["dots_note"]) == (
        10,
        "4 runs of 4 cells further down the table are not drawn.",
    )
    page = render_report(Material(table, {}, {}, (), (), ()), "many")
    assert "The first 12 of 14 rows." in page


def test_photographs_that_are_left_out_are_counted(material: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.report._MAX_PHOTOGRAPHS", 7)
    page = render_report(material, "few")
    assert page.count('class="photo"') == 7
    assert f"The last {IMAGES - 7} are left out" in page
    assert f'data-total="{IMAGES}"' in page


def test_a_class_of_the_data_may_be_called_other() -> None:
    frame = predict(76).replace({"ants": "other"}).rename(columns={"p/ants": "p/other"})
    frame.loc[0, "predicted"] = "something else"
    names, shares, count = _confusion([frame])
    assert (names, count) == (["bees", "other", "none of these"], 2)
    assert [sum(line) for line in shares] == pytest.approx([1, 1])


def test_nothing_to_show_is_one_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("no runs in experiment tlft")
    assert main(["--out", str(home)]) == 2
    assert f"--out {home}: is a folder" in capsys.readouterr().err


# In a browser, where there is one.


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = next((path for path in ("/usr/bin/chromium", "/usr/bin/google-chrome") if Path(path).exists()), None)
    if chromium is None:
        pytest.skip("no Chromium here")
    with playwright.sync_playwright() as started:
        chromium_browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield chromium_browser
        chromium_browser.close()


@pytest.fixture(params=[390, 1440])
def opened(request: pytest.FixtureRequest, browser: Any, page: str, tmp_path: Path) -> Iterator[Any]:
    path = tmp_path / "report.html"
    path.write_text(page, encoding="utf-8")
    tab = browser.new_page(viewport={"width": request.param, "height": 844})
    messages: list[str] = []
    tab.on("console", lambda message: messages.append(message.text))
    tab.on("pageerror", lambda error: messages.append(str(error)))
    tab.goto(path.as_uri())
    yield tab
    assert messages == []
    tab.close()


@pytest.mark.browser
def test_it_fits_a_phone_and_a_desktop(opened: Any) -> None:
    width = opened.viewport_size["width"]
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    assert opened.text_content("#count") == f"{IMAGES} of {IMAGES} images"


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible(opened: Any, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    opened.emulate_media(color_scheme=scheme)
    violations = axe.Axe().run(opened).response["violations"]
    assert [
        (violation["id"], violation["nodes"][0]["html"][:120])
        for violation in violations
        if violation["impact"] in ("serious", "critical")
    ] == []


@pytest.mark.browser
def test_photographs_are_filtered_by_mouse_and_by_keyboard(opened: Any, material: Material) -> None:
    opened.select_option("#by-class", "bees")
    assert opened.text_content("#count") == f"{IMAGES // 2} of {IMAGES} images"
    opened.select_option("#by-class", "")
    opened.focus("#by-column")
    opened.keyboard.press("ArrowDown")
    opened.keyboard.press("Tab")
    opened.keyboard.press("ArrowDown")
    assert opened.input_value("#by-column") == "zero_shot"
    assert opened.input_value("#by-outcome") == "wrong"
    assert opened.text_content("#count") == f"{IMAGES - 30} of {IMAGES} images"
    opened.select_option("#by-order", "name")
    names = opened.eval_on_selector_all(".photo:not([hidden])", "all => all.map((one) => one.dataset.file)")
    assert names == sorted(names)
    assert len(names) == IMAGES - 30


@pytest.mark.browser
def test_a_photograph_is_enlarged_and_put_back_by_keyboard(opened: Any) -> None:
    opened.focus(".photo button")
    opened.keyboard.press("Enter")
    assert opened.wait_for_selector("#large img", state="visible") is not None
    opened.keyboard.press("Enter")
    opened.wait_for_selector("#large", state="hidden")
    opened.click(".photo button")
    opened.keyboard.press("Escape")
    opened.wait_for_selector("#large", state="hidden")


def test_a_command_of_any_length_is_part_of_the_environment() -> None:
    assert _environment(json.dumps({"command": "x" * 20_000})) == (f"command: {'x' * 20_000}",)


@pytest.mark.filterwarnings("error")
def test_a_thousand_classes_have_a_page_and_every_class_its_recall() -> None:
    classes = np.array([f"class {number:03}" for number in range(1000)])
    index = np.arange(2000)
    labels, predicted = classes[index % 1000], classes[np.where(index < 1500, index, index + 1) % 1000]
    probabilities = np.full((2000, 1000), 0.0001, np.float32)
    probabilities[index, np.where(index < 1500, index, index + 1) % 1000] = 0.9
    frame = pd.DataFrame(
        {
            "file": [f"val/{number}.jpg" for number in index],
            "sha256": [f"{number:064x}" for number in index],
            "label": labels,
            "predicted": predicted,
            "confidence": np.full(2000, 0.9, np.float32),
            **{f"p/{name}": column for name, column in zip(classes, probabilities.T, strict=True)},
        }
    )
    material = make([(run(FINE_TUNE, 0.75), frame)])
    (row,) = material.table.rows
    evidence = material.table.evidence_of(row, "fine_tune")
    assert evidence is not None
    assert evidence.recalls == {name: 1.0 if place < 500 else 0.5 for place, name in enumerate(classes)}
    first, *_, last = compare_photographs(row, ["fine_tune"], material.frames)
    assert [first.right, last.right] == [0, 1]
    assert [verdict.probability for verdict in (*first.verdicts, *last.verdicts)] == pytest.approx([0.0001, 0.9])
    assert "the first 24 of 1000 classes" in render_report(material, "many")
