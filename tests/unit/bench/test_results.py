from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bench import __main__ as command
from bench import results
from bench.page import BEGIN, END, block_of, table, with_block, write_page
from bench.pairs import Comparison, Figure, Side, Sizes
from tlft.errors import TlftError
from tlft.storage.files import atomic_write

MACHINE = {"processor": "A", "vectors": "AVX2", "threads": 2, "precision": "float32", "memory_gb": 8, "system": "Linux"}
FIGURES = (Figure("epoch/x/over_y", "y", "x", "an epoch of x: y", 2), Figure("plan/over_z", "z", "x", "a plan: z"))


def raw(name: str, time: int = 0, **changes: object) -> dict[str, Any]:
    measured: dict[str, Any] = {"name": name, "machine": MACHINE, "versions": {"torch": "2"}, "commit": "c" * 40}
    return {
        **measured,
        "time": f"2026-01-0{1 + time}",
        "theirs": [10.0, 30.0, 20.0],
        "ours": [5.0, 5.0, 8.0],
        **changes,
    }


def test_results_have_the_ratios_and_what_they_were_measured_with() -> None:
    made, left_out = results.results_of([raw("epoch/x/over_y")])
    assert left_out == []
    assert made == {
        "machine": MACHINE,
        "versions": {"torch": "2"},
        "commit": "c" * 40,
        "ratios": {"epoch/x/over_y": {"median": 2.5, "min": 2.0, "max": 6.0, "n": 3}},
    }


def test_what_another_machine_or_other_versions_gave_is_left_out_and_another_commit_is_named() -> None:
    others = [raw("a", machine={**MACHINE, "threads": 4}), raw("b", versions={"torch": "1"}), raw("c", commit="d" * 40)]
    made, left_out = results.results_of([*others, raw("e", 1)])
    assert left_out == ["a", "b"]
    assert {name: ratio.get("commit") for name, ratio in made["ratios"].items()} == {"c": "d" * 40, "e": None}
    assert results.results_of([]) == ({}, [])


def test_raw_files_are_read_back_the_oldest_first(tmp_path: Path) -> None:
    results.write_raw([raw("epoch/x/over_y", 2), raw("plan/over_z", 1)], tmp_path)
    assert [each["name"] for each in results.read_raw(tmp_path)] == ["plan/over_z", "epoch/x/over_y"]
    made = results.write_results(tmp_path)
    assert json.loads((tmp_path / "results.json").read_text()) == made
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"raw/epoch/x/over_y.json", "raw/plan/over_z.json", "results.json"}


@pytest.mark.parametrize("writes", range(5))
def test_a_process_that_is_killed_leaves_all_of_a_set_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    names = ("epoch/x/over_y", "epoch/x/over_z", "epoch/x/over_w")
    old = [raw(name) for name in names]
    new = [raw(name, 1, commit="d" * 40) for name in names]
    results.write_raw(old, tmp_path)
    left = iter(range(writes))

    def write(path: Path, data: bytes) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        atomic_write(path, data)

    with monkeypatch.context() as patched:
        patched.setattr(results, "atomic_write", write)
        with pytest.raises(KeyboardInterrupt) if writes < 4 else nullcontext():
            results.write_raw(new, tmp_path)
    by_name = {each["name"]: each for each in results.read_raw(tmp_path)}
    assert [by_name[name] for name in names] == (new if writes else old)
    assert len(by_name) == len(list((tmp_path / "raw").rglob("*.*"))) == len(names)


def test_a_set_of_which_a_figure_cannot_be_told_is_not_kept(tmp_path: Path) -> None:
    def raws() -> Iterator[dict[str, Any]]:
        yield raw("epoch/x/over_y")
        raise TlftError("no such package")

    with pytest.raises(TlftError):
        results.write_raw(raws(), tmp_path)
    assert results.read_raw(tmp_path) == []


def test_machine_versions_and_commit_are_told() -> None:
    machine, versions = results.describe_machine(), results.describe_versions()
    assert machine.keys() == MACHINE.keys()
    assert {"python", "torch", "timm", "mlflow"} <= versions.keys()
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?|unknown", results.commit())


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder in which the command writes, with a page."""
    (tmp_path / "page.md").write_text(f"# Page\n\n{BEGIN}\n\nold\n\n{END}\n\nafter\n")
    for name in ("write_raw", "read_raw", "write_results"):
        monkeypatch.setattr(results, name, _in(tmp_path, getattr(results, name)))
        if hasattr(command, name):
            monkeypatch.setattr(command, name, getattr(results, name))
    monkeypatch.setattr(command, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(command, "PICTURE", tmp_path / "page.png")
    return tmp_path


def _in(folder: Path, function: Any) -> Any:
    return lambda *arguments: function(*arguments[:1] if function.__name__ == "write_raw" else (), folder)


def fakes(place: Path, seen: list[set[str]]) -> Iterator[Comparison]:
    """Yield comparisons whose sides note which files are there while they work."""

    def work(_: int) -> float:
        seen.append({path.relative_to(place).as_posix() for path in place.rglob("*.json")})
        return 1.0

    def prepare(folder: Path, sizes: Sizes) -> Mapping[str, Side]:
        return {"x": work, "y": work, "z": work}

    for figure in FIGURES:
        yield Comparison([figure], prepare)


def test_nothing_is_there_before_it_is_whole(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[str]] = []
    monkeypatch.setattr(command, "COMPARISONS", tuple(fakes(place, seen)))
    assert command.main(["--pairs", "2"]) == 0
    first = {"raw/epoch/x/over_y.json"}
    assert seen == [*[set()] * 4, *[first] * 4]
    assert (place / "results.json").exists()
    page = (place / "page.md").read_text()
    assert "| `epoch/x/over_y` | 1 | 1 to 1 | 2 | 2 | an epoch of x: y |" in page
    assert page.endswith(f"{END}\n\nafter\n") and "old" not in page
    assert Image.open(place / "page.png").format == "PNG"


def test_a_side_that_fails_leaves_everything_as_it_was(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def prepare(folder: Path, sizes: Sizes) -> Mapping[str, Side]:
        def fail(number: int) -> float:
            if number:
                raise TlftError("y ended with 1: no memory")
            return 1.0

        return {"x": lambda _: 1.0, "y": fail}

    monkeypatch.setattr(command, "COMPARISONS", (Comparison([FIGURES[0]], prepare),))
    assert command.main([]) == 1
    assert capsys.readouterr().err.endswith("failed: y ended with 1: no memory\n")
    assert [path.name for path in place.iterdir()] == ["page.md"]


def test_small_sizes_are_tried_and_not_kept(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "COMPARISONS", tuple(fakes(place, [])))
    assert command.main(["--small", "plan"]) == 0
    assert [path.name for path in place.iterdir()] == ["page.md"]


def test_the_table_has_a_row_for_each_figure_that_was_measured() -> None:
    newer = raw("plan/over_z", 1, theirs=[1234.0], ours=[1.0])
    made, _ = results.results_of([raw("epoch/x/over_y", commit="d" * 40), newer])
    lines = table(made, FIGURES).splitlines()
    assert lines[:4] == [
        "| figure | median | least to most | pairs | goal | ours: theirs |",
        "|---|---:|---:|---:|---:|---|",
        "| `epoch/x/over_y` | 2.5 | 2 to 6 | 3 | 2 | an epoch of x: y (commit `dddddddddddd`) |",
        "| `plan/over_z` | 1234 | 1234 to 1234 | 1 |  | a plan: z |",
    ]
    assert "A, 2 threads" in lines[5] and lines[7] == "Versions: torch 2."


def test_a_row_says_where_a_peer_is_ahead() -> None:
    figure = Figure("epoch/x/over_y", "y", "x", "an epoch of x: y", 1)
    for theirs, end in ((9.0, "x: y; **theirs is ahead** |"), (11.0, "x: y |")):
        made, _ = results.results_of([raw("epoch/x/over_y", theirs=[theirs], ours=[10.0])])
        assert table(made, [figure]).splitlines()[2].endswith(end)


def test_a_page_without_its_marks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TlftError, match="put them back"):
        with_block("# Page\n", "block")
    page = tmp_path / "page.md"
    page.write_text("# Page\n")
    with pytest.raises(TlftError, match="put them back"):
        write_page(results.results_of([raw("epoch/x/over_y")])[0], FIGURES, page, tmp_path / "page.png")
    assert [path.name for path in tmp_path.iterdir()] == ["page.md"]


def test_the_page_shows_the_results_that_are_checked_in() -> None:
    page = results.PAGE.read_text(encoding="utf-8")
    file = results.FOLDER / "results.json"
    if file.exists():
        made = json.loads(file.read_text(encoding="utf-8"))
        assert made == results.results_of(results.read_raw())[0]
        assert with_block(page, block_of(made, command.figures())) == page
    else:
        assert with_block(page, "Not measured yet.") == page
