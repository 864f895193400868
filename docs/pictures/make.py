"""Make what README and the examples show of a demo, which runs in a home of its own: `make pictures`.

That is docs/pictures/*.png, and the outputs in examples/comparison.ipynb. The demo is computed once; a second call
takes its runs and makes the rest anew.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageOps

if TYPE_CHECKING:
    from playwright.sync_api import Page, ViewportSize

PICTURES = Path(__file__).resolve().parent
PROJECT = PICTURES.parents[1]
HOME = PROJECT / ".pictures"
SWEEP = ("run.py", "sweep=demo", "data=hymenoptera")
TABLE = ("-m", "analysis.table")
NOTEBOOK = PROJECT / "examples" / "comparison.ipynb"

WIDTH = 1200
"""Of the report's window, in pixels."""

COLUMNS, LINES = 100, 24
"""Of the terminal."""

COLORS = 256
"""What is kept of a picture's colors: a third of the bytes, and no color moves by more than the eye sees."""

TERMINAL = """<!doctype html><meta charset="utf-8"><style>
body { margin: 0; background: #16191d }
pre { margin: 0; padding: 18px 22px; width: max-content; color: #d7dbe0; font: 15px/1.4 "DejaVu Sans Mono", monospace }
b { color: #7fc99a; font-weight: normal }
</style><pre><b>$</b> python -m analysis.table
%s</pre>"""


def run(*command: str, columns: int | None = None) -> str:
    """Run the project's Python on some words, in the home of the pictures; returns what it said.

    Raises:
        SystemExit: if it fails, after its own words.
    """
    environment = {**os.environ, "TLFT_HOME": str(HOME)}
    if columns is not None:
        environment["COLUMNS"] = str(columns)
    output = subprocess.PIPE if columns is not None else None
    done = subprocess.run(
        [sys.executable, *command], cwd=PROJECT, env=environment, stdout=output, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"no pictures: {' '.join(command)} ended with {done.returncode}, and says why above")
    return done.stdout or ""


def first_notes(text: str) -> str:
    """Return what of a table and the notes below it fits on a terminal below the command, cut between two notes."""
    lines = text.splitlines()
    starts = [index for index, line in enumerate(lines[:LINES]) if line and not line.startswith(" ")]
    return "\n".join(lines) if len(lines) < LINES else "\n".join(lines[: starts[-1]])


def save(picture: bytes, name: str) -> None:
    """Write a PNG of few colors, with a thin frame, since a page may be as white as the picture."""
    path = PICTURES / name
    image = ImageOps.expand(Image.open(io.BytesIO(picture)).convert("RGB"), border=1, fill="#d0d7de")
    few = image.quantize(COLORS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    print(f"wrote {path}: {image.width} x {image.height}, {path.stat().st_size // 1000} kB")


def photograph_report(page: Page, report: Path) -> None:
    """Write report.png: the report from its answer to the end of its comparisons."""
    page.goto(report.as_uri())
    end = page.evaluate("document.querySelector('table.comparisons').getBoundingClientRect().bottom")
    page.set_viewport_size({"width": WIDTH, "height": round(end) + 16})
    save(page.screenshot(), "report.png")


def photograph_table(page: Page, text: str) -> None:
    """Write table.png: the command and the beginning of its words, as on a terminal."""
    page.set_content(TERMINAL % escape(first_notes(text)))
    save(page.locator("pre").screenshot(), "table.png")


def run_notebook() -> None:
    """Run the example's cells on the demo's runs, and store what they show."""
    import nbformat
    from nbclient import NotebookClient

    os.environ |= {"TLFT_HOME": str(HOME), "PYTHONPATH": str(PROJECT)}  # which the kernel inherits
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    os.environ["PYTHONWARNINGS"] = "ignore"  # of this environment, which say where it lies
    resources = {"metadata": {"path": NOTEBOOK.parent}}
    NotebookClient(notebook, kernel_name="python3", resources=resources, record_timing=False).execute()
    notebook.metadata["language_info"] = {"name": "python"}  # not this very version
    nbformat.write(notebook, NOTEBOOK)
    print(f"wrote {NOTEBOOK.relative_to(PROJECT)}: {NOTEBOOK.stat().st_size // 1000} kB")


def main() -> None:
    """Run the demo where it has not run, and make all of it."""
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        sys.exit("no pictures: Playwright is not installed: pip install -e '.[dev]'")
    with sync_playwright() as started:
        # Debian's, or the one that `playwright install chromium` has fetched.
        program = shutil.which("chromium") or shutil.which("google-chrome")
        try:
            browser = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        except Error as error:
            first = str(error).splitlines()[0]
            sys.exit(f"no pictures: no Chromium: apt-get install chromium, or playwright install chromium ({first})")
        run(*SWEEP)
        report = HOME / "report.html"
        run("-m", "analysis.report", "--out", str(report))
        window: ViewportSize = {"width": WIDTH, "height": 1000}
        photograph_report(browser.new_page(viewport=window), report)
        photograph_table(browser.new_page(viewport=window), run(*TABLE, columns=COLUMNS))
        browser.close()
    run_notebook()


if __name__ == "__main__":
    main()
