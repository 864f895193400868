"""What people see of the results: a table and a picture in docs/performance.md."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bench.pairs import Figure
from tlft.errors import TlftError
from tlft.storage.files import atomic_write

BEGIN, END = "<!-- made by make bench, from bench/results.json -->", "<!-- end of what make bench makes -->"

_LONGEST_LINE = 120  # of every page

_AHEAD, _BEHIND = "#2a7f62", "#b5532a"


def table(results: Mapping[str, Any], figures: Iterable[Figure]) -> str:
    """Return a Markdown table of the results, in the order of the figures, and what they were measured on and with."""
    machine, versions, ratios = results["machine"], results["versions"], results["ratios"]
    rows = [_row(figure, ratios[figure.name], results["commit"]) for figure in figures if figure.name in ratios]
    where = (
        f"Measured on {machine['processor']}, {machine['threads']} threads, {machine['vectors']}, "
        f"{machine['memory_gb']} GB, {machine['system']}; runs compute in {machine['precision']}. Commit "
        f"`{_short(results['commit'])}`."
    )
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    head = "| figure | median | least to most | pairs | goal | ours: theirs |\n|---|---:|---:|---:|---:|---|"
    prose = [textwrap.fill(text, _LONGEST_LINE, break_on_hyphens=False) for text in (where, f"Versions: {listed}.")]
    return "\n".join([head, *rows, "", prose[0], "", prose[1]])


def _row(figure: Figure, ratio: Mapping[str, Any], commit: str) -> str:
    of = f" (commit `{_short(ratio['commit'])}`)" if ratio.get("commit", commit) != commit else ""
    ahead = "; **theirs is ahead**" if figure.goal == 1 and ratio["median"] < 1 else ""
    goal = "" if figure.goal is None else f"{figure.goal:g}"
    spread = f"{_number(ratio['min'])} to {_number(ratio['max'])}"
    cells = (f"`{figure.name}`", _number(ratio["median"]), spread, str(ratio["n"]), goal, figure.meaning + ahead + of)
    return f"| {' | '.join(cells)} |"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _short(commit: str) -> str:
    digits, dash, rest = commit.partition("-")
    return digits[:12] + dash + rest


def picture(results: Mapping[str, Any], figures: Iterable[Figure]) -> bytes:
    """Return a PNG: each median with its spread on a logarithmic axis, with goals, and a line where both are equal."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = [figure for figure in figures if figure.name in results["ratios"]][::-1]
    ratios = [results["ratios"][figure.name] for figure in shown]
    drawing, axes = pyplot.subplots(figsize=(8, 1 + 0.3 * len(shown)), layout="constrained")
    axes.axvline(1, color="#888888", linewidth=1)
    for place, (figure, ratio) in enumerate(zip(shown, ratios, strict=True)):
        color = _AHEAD if ratio["median"] >= (figure.goal or 1) else _BEHIND
        axes.plot([ratio["min"], ratio["max"]], [place, place], color=color, linewidth=2)
        axes.plot([ratio["median"]], [place], "o", color=color)
        if figure.goal is not None:
            axes.plot([figure.goal], [place], "|", color="black", markersize=12)
    axes.set_yticks(range(len(shown)), [figure.name for figure in shown])
    axes.set_ylim(-0.6, len(shown) - 0.4)  # or the first and last dot are cut
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("ratio (log scale)")
    written = io.BytesIO()
    drawing.savefig(written, format="png", dpi=110)
    pyplot.close(drawing)
    return written.getvalue()


def with_block(page: str, block: str) -> str:
    """Return a page with another block between its two marks.

    Raises:
        TlftError: if the marks are not there.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise TlftError(f"docs/performance.md: has not the lines {BEGIN} and {END}; put them back")
    return f"{before}{begin}\n\n{block}\n\n{end}{after}"


def write_page(results: Mapping[str, Any], figures: Iterable[Figure], page: Path, drawing: Path) -> None:
    """Put the results into the page and beside it."""
    figures = list(figures)
    text = with_block(page.read_text(encoding="utf-8"), block_of(results, figures))
    atomic_write(drawing, picture(results, figures))
    atomic_write(page, text.encode())


def block_of(results: Mapping[str, Any], figures: Iterable[Figure]) -> str:
    """Return what stands between the marks."""
    shown = "![Each figure's median and spread on a logarithmic axis, with its goal](pictures/performance.png)"
    legend = "A dot is a median, its line the spread of the rounds, a stroke the goal; red is what does not reach it."
    return f"{shown}\n\n{legend}\n\n{table(results, figures)}"
