"""A browser that pages are opened in, where there is one, and what axe-core finds on them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


@contextmanager
def chromium() -> Iterator[Any]:
    """Start Chromium without a window; where there is none the test is skipped."""
    playwright = pytest.importorskip("playwright.sync_api")
    program = next((path for path in ("/usr/bin/chromium", "/usr/bin/google-chrome") if Path(path).exists()), None)
    if program is None:
        pytest.skip("no Chromium here")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


def serious_violations(tab: Any) -> list[tuple[str, str]]:
    """Return what axe-core finds serious or critical on an open page, each with its first place."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    return [
        (violation["id"], violation["nodes"][0]["html"][:120])
        for violation in axe.Axe().run(tab).response["violations"]
        if violation["impact"] in ("serious", "critical")
    ]
