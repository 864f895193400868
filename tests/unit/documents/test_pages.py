"""README and the pages of docs: short enough, without a link that leads nowhere, and in step with the code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
from documents import PAGES, README, anchors, blocks, links, prose
from test_structure import FLOORS

from tlft.config.paths import PROJECT

NOTEBOOKS = tuple(sorted((PROJECT / "examples").glob("*.ipynb")))
LARGEST_NOTEBOOK = 1_500_000
LARGEST_PICTURE = 300_000
LONGEST_README = 120


def find_dead_links(path: Path, text: str) -> Iterator[str]:
    for link in links(text):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = path.parent / unquote(name) if name else path
        if not target.exists():
            yield f"{path.name}: {link}: no such file"
        elif anchor and anchor not in anchors(text if target == path else target.read_text(encoding="utf-8")):
            yield f"{path.name}: {link}: no such heading"


def text_of_notebook(path: Path) -> str:
    notebook = nbformat.read(path, as_version=4)
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def read_all() -> Iterator[tuple[Path, str]]:
    for path in (*PAGES, PROJECT / "CHANGELOG.md"):
        yield path, path.read_text(encoding="utf-8")
    for path in NOTEBOOKS:
        yield path, text_of_notebook(path)


def test_every_link_and_every_anchor_leads_somewhere() -> None:
    assert [problem for path, text in read_all() for problem in find_dead_links(path, text)] == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    (tmp_path / "other.md").write_text("# Twice, `a`\n## Twice, a\n```console\n# no heading\n```\n")
    page.write_text(
        "# Here\n[a](#here) [b](#there) [c](other.md#twice-a) [d](other.md#twice-a-1) [e](other.md#no-heading)\n"
        '[f](gone.md) `[no](link)` [g](https://example.org/x) <img src="gone.png">\n'
    )
    assert list(find_dead_links(page, page.read_text())) == [
        "page.md: #there: no such heading",
        "page.md: other.md#no-heading: no such heading",
        "page.md: gone.md: no such file",
        "page.md: gone.png: no such file",
    ]


def test_readme_is_short_and_gives_the_test_command() -> None:
    lines = README.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= LONGEST_README
    assert "$ make test" in lines  # .ci/run looks for it


def test_readme_leads_to_every_page() -> None:
    named = {link.partition("#")[0] for link in links(README.read_text(encoding="utf-8"))}
    assert {path.relative_to(PROJECT).as_posix() for path in PAGES if path != README} <= named


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_lines_of_prose_and_of_code_are_of_bounded_length(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if len(line) > 120 and not line.startswith("|")] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_block_of_code_says_what_it_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert {block.language for block in blocks(text)} <= {"console", "python", "yaml"}
    assert "```" not in prose(text)
    assert "$ " not in re.sub(r"`[^`\n]*`", "", prose(text))


def test_what_a_block_needs_names_tests_that_are_there() -> None:
    marks = [block.needs for path in PAGES for block in blocks(path.read_text(encoding="utf-8")) if block.needs]
    assert marks
    named = [name for mark in marks for name in re.findall(r"tests/[\w/]+\.py", mark)]
    assert [name for name in named if not (PROJECT / name).exists()] == []


def test_the_page_on_architecture_lists_every_room_from_top_to_bottom() -> None:
    page = (PROJECT / "docs" / "architecture.md").read_text(encoding="utf-8")
    first_cells = re.findall(r"(?m)^\| (`\w+`(?:, `\w+`)*) \|", page)
    assert tuple(tuple(re.findall(r"\w+", cell)) for cell in first_cells) == FLOORS


def test_the_pictures_are_small_and_all_are_shown() -> None:
    pictures = {path.relative_to(PROJECT).as_posix() for path in (PROJECT / "docs" / "pictures").glob("*.png")}
    shown = {(page.parent / link).resolve() for page in PAGES for link in links(page.read_text(encoding="utf-8"))}
    assert pictures and pictures == {p.relative_to(PROJECT).as_posix() for p in shown if p.suffix == ".png"}
    assert [name for name in pictures if (PROJECT / name).stat().st_size > LARGEST_PICTURE] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_stored_with_its_outputs_and_no_path_of_a_machine(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert sum(bool(cell.outputs) for cell in cells) >= len(cells) - 1
    assert all(output.output_type != "error" for cell in cells for output in cell.outputs)
    assert len(text) < LARGEST_NOTEBOOK
    shown = json.dumps([cell.outputs for cell in cells])
    assert re.findall(r"(?:file://|/home/|/root/|/tmp/|/Users/|/mnt/|/opt/|/var/)[^\s\"]*", shown) == []
    assert str(PROJECT) not in shown


def test_the_guide_lists_every_option_of_every_group_and_every_preset() -> None:
    guide = (PROJECT / "docs" / "guide.md").read_text(encoding="utf-8")
    groups = {path.name for path in (PROJECT / "conf").iterdir() if path.is_dir() and path.name != "hydra"}
    listed = {match[1]: match[2] for match in re.finditer(r"^\| `(\w+)` \| (`.*?`) \|", guide, re.MULTILINE)}
    assert groups <= set(listed)
    for group in groups:
        options = {path.stem for path in (PROJECT / "conf" / group).glob("*.yaml")}
        assert set(re.findall(r"`(\w+)`", listed[group])) == options
    presets = set(re.findall(r"^\| `sweep=(\w+)` \|", guide, re.MULTILINE))
    assert presets == {path.stem for path in (PROJECT / "conf" / "sweep").glob("*.yaml")}
