"""Fill a template: one HTML file that needs nothing beside it, or a part of a page that is there already.

Whatever a user named is escaped, and the page's own policy lets nothing run but its one script.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


@dataclass(frozen=True)
class Answer:
    """What a page says first of one data set, what that shows, and what a reader must know before he believes it."""

    text: str
    shows: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()


def render_page(template: str, title: str, answers: Sequence[Answer], **context: Any) -> str:
    """Return a page that opens with its answers; the template is a file in `templates/` that extends `base.html.j2`."""
    folder = files("analysis").joinpath("templates")
    assets: dict[str, str] = {}
    for name, file in (("style", "page.css"), ("script", "page.js")):
        text = folder.joinpath(file).read_text("utf-8")
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assets |= {name: Markup(text), f"{name}_hash": f"sha256-{digest}"}
    return render_part(template, title=title, answers=answers, **assets, **context)


def render_part(template: str, **context: Any) -> str:
    """Return a template filled in, for a page that is there already."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, loader=PackageLoader("analysis"))
    environment.filters["units"] = lambda text: re.sub(r"(?<=\d) (?=%|points?\b)", "\u00a0", text)  # on one line
    return environment.get_template(template).render(**context)
