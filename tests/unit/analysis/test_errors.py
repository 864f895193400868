"""The page of what is doubtful in the data, and the command that makes it."""

from __future__ import annotations

import hashlib
import html
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from browsing import chromium, serious_violations
from fabricated import FINE_TUNE, network, run, scene

from analysis.comparison_table import build_table
from analysis.errors import Findings, find_errors, render_errors
from analysis.label_errors import Search, find_suspects
from tlft.duplicates.near_duplicates import Member, Pair, to_json
from tlft.tracking.reader import ArtifactReader

EVIL = "<script>alert(1)</script>"


def findings_in(tmp_path: Path) -> Findings:
    """Return a pair of near-duplicates and suspects, whose images lie in a folder."""
    (tmp_path / "val").mkdir()
    names = ("val/a.png", f"val/{EVIL.replace('/', '')}.png")
    for index, name in enumerate(names):
        scene(index).save(tmp_path / name)
    digests = [hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in names]
    frame = network(0, wrong={7: "ants"})
    frame.loc[7, ["file", "sha256"]] = [names[1], digests[1]]
    search = find_suspects([frame, frame])
    pair = Pair(
        Member(names[0], digests[0], "eval", EVIL), Member("train/gone.png", "f" * 64, "train", "ants"), 3, True
    )
    return Findings(EVIL, search, (pair,), (tmp_path,))


def test_page_shows_the_images_and_names_stay_text(tmp_path: Path) -> None:
    page = render_errors([findings_in(tmp_path)], "Doubtful data: tlft")
    assert page.count("data:image/webp;base64,") == 2
    assert "<script>alert" not in page
    assert html.escape(EVIL) in page
    assert "The label counts as wrong." in page
    assert "3 of 64 bits differ, mirrored" in page
    assert "1 pair of a training and an evaluation image" in page
    nothing = render_errors([Findings("photos", Search((), 90, 1, 0), None, ())], "Doubtful data: tlft")
    assert "near-duplicates were not looked for" in nothing


def test_a_pair_that_leaks_in_a_fold_is_told_once(tmp_path: Path) -> None:
    splits = [("train", "train"), ("eval", "train"), ("train", "eval")]
    folds = [
        [Pair(Member("a.png", "a" * 64, one, "ants"), Member("b.png", "b" * 64, other, "ants"), 3, False)]
        for one, other in splits
    ]
    records = []
    for number, pairs in enumerate(folds):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "near_duplicates.json").write_text(to_json(pairs))
        records.append(replace(run(FINE_TUNE), artifacts=str(tmp_path / str(number))))
    table = build_table([replace(records[0], run_id="folds", parts=tuple(records))])
    (findings,) = find_errors(table, {}, ArtifactReader(), tmp_path)
    assert findings.near_duplicates is not None
    assert [(pair.one.split, pair.other.split) for pair in findings.near_duplicates] == [("eval", "train")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible_and_fits(browser: Any, tmp_path: Path, width: int, scheme: str) -> None:
    path = tmp_path / "errors.html"
    path.write_text(render_errors([findings_in(tmp_path)], "Doubtful data: tlft"), encoding="utf-8")
    tab = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
    tab.goto(path.as_uri())
    assert serious_violations(tab) == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    tab.close()
