"""The report: one file that needs nothing beside it, in which whatever a user named stays text."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from browsing import chromium, serious_violations
from fabricated import FINE_TUNE, FROM_SCRATCH, ZERO_SHOT, predict, run
from PIL import Image

from analysis.comparison_table import Table, add_evidence, build_table
from analysis.footnotes import footnotes
from analysis.image_review import Verdict, compare_photographs, draw_thumbnails
from analysis.predictions.correctness import Frames
from analysis.report.__main__ import main
from analysis.report.material import Material, _commands, _environment, choose_rows
from analysis.report.page import MAX_CHARACTERS, render_report
from analysis.report.photographs import describe_verdict
from analysis.report.row_charts import _confusion, confusion_shares
from analysis.template_context import draw_runs
from tlft.config.paths import PROJECT
from tlft.names import Tag

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
    return gather(table, frames, curves, roots)


def gather(table: Table, frames: Frames, curves: Any = None, roots: tuple[Path, ...] = ()) -> Material:
    return Material(
        table=table,
        rows=choose_rows(table),
        frames=frames,
        curves=curves or {},
        roots=roots,
        environment=("torch: 2.14",),
        commands=("python run.py sweep=comparison",),
        address="http://127.0.0.1:5000/#/experiments",
        written=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
    )


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
    assert page.index('class="answer">On photos, resnet50: fine-tuned 95.0\u00a0%') < places[0]
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
    assert page.count("data:image/webp;base64,") == IMAGES


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
    monkeypatch.setattr("analysis.report.photographs.MAX_PICTURE_CHARACTERS", 3 * size)
    few = render_report(material, "few")
    drawn = few.count("data:image/webp")
    assert 1 <= drawn <= 4
    assert f"{IMAGES - drawn} of them are shown by name alone" in few


def test_photographs_have_what_the_rest_of_the_page_leaves_them(
    material: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("analysis.report.photographs.MAX_PICTURE_CHARACTERS", 0)
    bare = len(render_report(material, "bare"))
    monkeypatch.undo()
    monkeypatch.setattr("analysis.report.page.MAX_CHARACTERS", bare + 60_000)
    page = render_report(material, "small")
    assert 1 <= page.count("data:image/webp") < IMAGES
    assert len(page) <= bare + 60_000


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
    page = render_report(gather(add_evidence(table, {}, full=True), {}), "nothing")
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
    page = render_report(gather(table, {}), "many")
    assert "The first 12 of 14 rows." in page


def test_photographs_that_are_left_out_are_counted(material: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.report.photographs.MAX_PHOTOGRAPHS", 7)
    page = render_report(material, "few")
    assert page.count('class="photo"') == 7
    assert f"{IMAGES - 7} of them, the least disputed, are left out" in page
    assert f'data-total="{IMAGES}"' in page


def test_a_class_of_the_data_may_be_called_other() -> None:
    frame = predict(76).replace({"ants": "other"}).rename(columns={"p/ants": "p/other"})
    frame.loc[0, "predicted"] = "something else"
    names, shares = confusion_shares(frame["label"], frame["predicted"])
    assert names == ["bees", "other", "none of these"]
    assert [sum(line) for line in shares] == pytest.approx([1, 1])


def test_nothing_to_show_is_one_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("no runs in experiment tlft")
    assert main(["--out", str(home)]) == 2
    assert f"--out {home}: is a folder" in capsys.readouterr().err


# In a browser, where there is one.


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


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


@pytest.mark.parametrize(("classes", "file"), [(30, False), (101, True)])
def test_of_many_classes_those_are_told_of_which_least_is_found(classes: int, file: bool) -> None:
    names = [f"species {index}" for index in range(classes)]
    frame = pd.DataFrame({"label": names * 3, "predicted": names * 3})
    frame.loc[[10, 2, 2 + classes], "predicted"] = "species 1"
    told = _confusion([frame, frame], "fine-tuned")
    assert told["picture"] is None
    assert told["classes"] == classes
    assert told["least"][:4] == [
        {"label": "species 2", "count": 2, "images": 6},
        {"label": "species 10", "count": 4, "images": 6},
        {"label": "species 0", "count": 6, "images": 6},
        {"label": "species 1", "count": 6, "images": 6},
    ]
    assert len(told["least"]) == 12
    images = predict(len(frame), images=len(frame))
    shares = pd.DataFrame(1 / classes, frame.index, [f"p/{name}" for name in names])
    seen = pd.concat([images[["file", "sha256", "confidence"]], frame, shares], axis=1)
    page = render_report(make([(run(FINE_TUNE), seen)]), "many")
    assert "the classes of which least is found" in page
    assert ("(recalls.csv of a run has all)" in page) == file


@pytest.mark.browser
def test_it_fits_a_phone_and_a_desktop(opened: Any) -> None:
    width = opened.viewport_size["width"]
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    assert opened.text_content("#count") == f"{IMAGES} of {IMAGES} images"


@pytest.mark.browser
def test_the_picture_in_readme_ends_below_the_comparisons(
    browser: Any, page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.spec_from_file_location("pictures", PROJECT / "docs" / "pictures" / "make.py")
    assert spec is not None and spec.loader is not None
    pictures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pictures)
    monkeypatch.setattr(pictures, "PICTURES", tmp_path)
    (tmp_path / "report.html").write_text(page, encoding="utf-8")
    tab = browser.new_page(viewport={"width": pictures.WIDTH, "height": 1000})
    pictures.photograph_report(tab, tmp_path / "report.html")
    assert Image.open(tmp_path / "report.png").height < tab.evaluate("document.documentElement.scrollHeight")
    tab.close()


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible(opened: Any, scheme: str) -> None:
    opened.emulate_media(color_scheme=scheme)
    assert serious_violations(opened) == []


@pytest.mark.browser
def test_photographs_are_filtered_by_class_and_by_what_columns_say(opened: Any) -> None:
    def count() -> int:
        return int(opened.text_content("#count").split()[0])

    opened.select_option("#by-class", "bees")
    assert count() == IMAGES // 2
    opened.click("#reset")
    opened.focus("#by-column select")
    opened.keyboard.press("ArrowDown")
    opened.keyboard.press("ArrowDown")
    assert opened.input_value("#by-column select") == "wrong:open"
    assert count() == IMAGES - 30
    opened.select_option("#by-order", "name")
    names = opened.eval_on_selector_all(".photo:not([hidden])", "all => all.map((one) => one.dataset.file)")
    assert names == sorted(names)
    assert len(names) == IMAGES - 30
    opened.select_option("#by-column select >> nth=0", "right:closed")
    opened.select_option("#by-column select >> nth=1", "wrong:open")
    assert count() == 0


@pytest.mark.browser
def test_two_screens_of_photographs_are_shown_and_the_rest_on_demand(opened: Any) -> None:
    def shown() -> int:
        return int(opened.eval_on_selector_all(".photo", "all => all.filter((one) => one.checkVisibility()).length"))

    assert IMAGES > 24
    assert shown() == 24
    assert opened.text_content("#more") == f"show {IMAGES - 24} more"
    opened.click("#more")
    assert shown() == IMAGES
    assert opened.is_hidden("#more")
    opened.select_option("#by-class", "bees")
    assert shown() == min(24, IMAGES // 2)
    opened.click("#reset")
    opened.click(".photo >> nth=23 >> button")
    opened.keyboard.press("ArrowRight")  # to one that is folded away
    opened.keyboard.press("Escape")
    opened.wait_for_selector("#large", state="hidden")
    assert shown() == IMAGES
    assert opened.evaluate("document.activeElement.closest('li') === document.querySelectorAll('.photo')[24]")


@pytest.mark.browser
def test_a_finger_turns_photographs_over_by_going_sideways_alone(browser: Any, page: str, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(page, encoding="utf-8")
    address = (tmp_path / "report.html").as_uri()
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    tab = context.new_page()
    tab.goto("about:blank")  # so that there is a way back, which a finger would else find
    tab.goto(address)
    fingers = context.new_cdp_session(tab)

    def swipe(right: int, down: int) -> str:
        x, y = (70, 320)[right < 0], 300
        points = [[{"x": x + right * part / 5, "y": y + down * part / 5}] for part in range(6)]
        for kind, point in zip(["touchStart", *["touchMove"] * 5, "touchEnd"], [*points, []], strict=True):
            fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": point})
        tab.wait_for_timeout(200)
        return str(tab.text_content("#large .file"))

    tab.tap(".photo button")
    first, scrolled = tab.text_content("#large .file"), tab.evaluate("scrollY")
    second = swipe(-250, 5)
    assert second != first
    assert swipe(250, 5) == first
    assert [swipe(100, 250), swipe(-100, -250), swipe(10, -200)] == [first] * 3
    assert tab.url == address
    assert tab.evaluate("scrollY") == scrolled
    tab.go_back()
    tab.wait_for_selector("#large", state="hidden")
    assert tab.url == address
    context.close()


@pytest.mark.browser
def test_filters_stand_in_lines(opened: Any) -> None:
    tops = opened.eval_on_selector_all(".controls select", "all => all.map((one) => one.getBoundingClientRect().top)")
    assert len(tops) == 5
    if opened.viewport_size["width"] > 1000:
        assert max(tops) - min(tops) < 1


@pytest.mark.browser
def test_a_count_of_the_comparisons_leads_to_its_photographs(opened: Any, material: Material) -> None:
    evidence = material.table.evidence
    assert evidence is not None
    links = opened.eval_on_selector_all("a[data-filter]", "all => all.length")
    assert links == 2 * len(evidence.claims)
    for index, claim in enumerate(evidence.claims):
        cells = [material.table.evidence_of(claim.row, side) for side in (claim.new, claim.old)]
        new, old = (
            cell.correctness.correct_closed_set if side in claim.closed_sides else cell.correctness.correct
            for side, cell in zip((claim.new, claim.old), cells, strict=True)
            if cell is not None
        )
        for place, (right, wrong) in enumerate(((new, old), (old, new))):
            opened.click(f"a[data-filter] >> nth={2 * index + place}")
            shown = opened.eval_on_selector_all(".photo:not([hidden])", "all => all.length")
            assert shown == (right.any(axis=0) & ~wrong.all(axis=0)).sum()


@pytest.mark.browser
def test_a_photograph_is_enlarged_turned_over_and_put_back_by_keyboard(opened: Any) -> None:
    names = opened.eval_on_selector_all(".photo", "all => all.map((one) => one.dataset.file)")
    opened.focus(".photo button")
    opened.keyboard.press("Enter")
    assert opened.wait_for_selector("#large img", state="visible") is not None
    assert opened.text_content("#large .file").endswith(names[0])
    assert opened.locator("#large dd").count() == 3
    assert opened.is_disabled("#large .previous")
    opened.keyboard.press("ArrowRight")
    assert opened.text_content("#large .file").endswith(names[1])
    opened.click("#large .previous")
    assert opened.text_content("#large .file").endswith(names[0])
    assert opened.is_disabled("#large .previous")  # and has no focus any more, which keys must not need
    opened.keyboard.press("ArrowRight")
    assert opened.text_content("#large .file").endswith(names[1])
    opened.keyboard.press("Escape")
    opened.wait_for_selector("#large", state="hidden")
    opened.click(".photo button")
    opened.click("#large .close")
    opened.wait_for_selector("#large", state="hidden")


@pytest.mark.browser
def test_mistakes_alone_are_printed_unless_all_are_asked_for(opened: Any) -> None:
    def printed() -> int:
        return int(opened.eval_on_selector_all(".photo", "all => all.filter((one) => one.checkVisibility()).length"))

    opened.emulate_media(media="print")
    mistakes = printed()
    assert 0 < mistakes < IMAGES
    opened.evaluate("document.getElementById('print-all').click()")
    assert printed() == IMAGES


@pytest.fixture(scope="module")
def two_data_sets(root: Path) -> Material:
    """A row of photographs, and drawings that have more columns and are newer."""
    files = {"file": [photograph(root, number)[0] for number in range(IMAGES)]}
    seen = {**files, "sha256": [photograph(root, number)[1] for number in range(IMAGES)]}
    images = {"data.eval": "dd" * 32}
    runs = [(run(FINE_TUNE, 0.75), predict(30, images=IMAGES).assign(**seen))]
    for column in (ZERO_SHOT, FINE_TUNE, FROM_SCRATCH):
        changes = images if column == ZERO_SHOT else {**images, "data.train": "ee" * 32}
        runs.append((run(column, 0.5, data="synthetic", changes=changes), predict(20, images=IMAGES)))
    return make(runs, (root,))


def test_each_data_set_has_its_answer_and_photographs_come_before_drawings(two_data_sets: Material) -> None:
    page = render_report(two_data_sets, "two")
    answers = re.findall(r'<p class="answer[^"]*">On ([a-z]+), ', page)
    assert answers == ["photos", "synthetic"]
    assert [row.data for row in two_data_sets.rows] == ["photos", "synthetic"]
    assert re.findall(r'<optgroup label="([^"]+)"', page) == answers
    assert "1 evaluation" not in page
    assert page.count('class="photo"') == 2 * IMAGES


@pytest.mark.browser
def test_the_row_that_is_chosen_is_shown(browser: Any, two_data_sets: Material, tmp_path: Path) -> None:
    path = tmp_path / "two.html"
    path.write_text(render_report(two_data_sets, "two"), encoding="utf-8")
    tab = browser.new_page()
    tab.goto(path.as_uri())

    def columns() -> list[str]:
        return list(tab.eval_on_selector_all("#by-column select", "all => all.map((one) => one.dataset.column)"))

    assert columns() == ["fine_tune"]
    tab.select_option("#row", "1")
    assert columns() == ["zero_shot", "fine_tune", "from_scratch"]
    assert tab.locator("#h-confusion ~ div:visible figure").count() == 3
    assert "evaluation images of synthetic" in tab.text_content("p[data-sheet]:visible")
    tab.close()


@pytest.mark.parametrize(
    ("right", "networks", "text"),
    [
        (0.0, 1, "\u2717 daisy 88\u00a0%, ants 2\u00a0%"),
        (1 / 3, 3, "1 of 3 right; most say daisy 88\u00a0%, ants 2\u00a0%"),
    ],
)
def test_behind_a_prediction_stands_its_own_probability(right: float, networks: int, text: str) -> None:
    verdict = Verdict("zero_shot", "daisy", 0.88, right, 1.0, networks, 0.02)
    assert describe_verdict(verdict, "ants") == text
    undecided = Verdict("zero_shot", "bees", 0.56, 0.5, 0.5, 2, 0.55, agreed=False)
    assert describe_verdict(undecided, "ants") == "1 of 2 right; ants 55\u00a0% on average"
    sure = Verdict("zero_shot", "ants", 0.9999, 1.0, 1.0, networks, 0.9999)
    assert describe_verdict(sure, "ants") == "\u2713 ants >99\u00a0%"


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
    assert [v.label_probability for v in (*first.verdicts, *last.verdicts)] == pytest.approx([0.0001, 0.9])
    page = render_report(material, "many")
    assert "the commonest mistakes, of 1000 classes" in page
    assert "<td>class 500</td><td>class 501</td><td>1 of 2</td>" in page


def test_a_command_that_makes_runs_and_table_is_said_once() -> None:
    typed = ["run.py experiment=fine_tune", "run.py -m sweep=comparison", "run.py -m sweep=comparison"]
    runs = [SimpleNamespace(tags={Tag.COMMAND: command}) for command in typed]
    by_sweep = cast(Any, SimpleNamespace(runs=runs, command="python run.py -m sweep=comparison"))
    assert _commands(by_sweep) == ("python run.py -m sweep=comparison", "python run.py experiment=fine_tune")
    by_table = cast(Any, SimpleNamespace(runs=runs, command="python -m analysis.table"))
    assert _commands(by_table)[-1] == "python -m analysis.table"
