"""Turn a template and its context into one HTML file that needs nothing beside it.

Whatever a user named is escaped, and the page's own policy lets nothing run but its one script.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import Any


def render_page(template: str, title: str, headline: str, **context: Any) -> str:
    """Return a page.

    Args:
        template: name of a file in `templates/` that extends `base.html.j2`.
        title: of the page.
        headline: the sentence that it opens with.
        context: what the template shows.
    """
    from markupsafe import Markup

    folder = files("analysis").joinpath("templates")
    style, script = (folder.joinpath(name).read_text("utf-8") for name in ("page.css", "page.js"))
    hashes = {"style_hash": _hash(style), "script_hash": _hash(script)}
    assets = {"style": Markup(style), "script": Markup(script), **hashes}
    return render_part(template, title=title, headline=headline, **assets, **context)


def render_part(template: str, **context: Any) -> str:
    """Return a template filled in, for a page that is there already."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, loader=PackageLoader("analysis"))
    return environment.get_template(template).render(**context)


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
