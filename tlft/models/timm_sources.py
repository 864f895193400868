"""What stands in the installed sources of timm, read without importing it, which takes seconds.

Names are where a function is registered, weights in tables of literals. What is written in another way is not known
here, and timm itself is asked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import util
from pathlib import Path

_UNDER_A_NAME = re.compile(r"^@register_model\b.*\n(?:@.*\n)*def (\w+)\(", re.MULTILINE)
_ENTRY = re.compile(r"^ +['\"](\w+)\.([\w-]+)['\"] *:", re.MULTILINE)
_END = re.compile(rf"{_ENTRY.pattern}|^\}}", re.MULTILINE)
_VALUE = r"\b{key}['\"]? *[=:] *['\"]([^'\"]*)['\"]"
_COMMENT = re.compile(r"#.*")


@dataclass(frozen=True)
class Source:
    """Where the weights of one tag come from: the web, the Hugging Face hub, or both."""

    tag: str
    url: str | None
    hub_repo: str | None


@cache
def read_sources() -> dict[str, tuple[Source, ...]]:
    """Return the weights of each network that is registered, timm's choice first; of some, none are known here."""
    package = util.find_spec("timm")
    if package is None or package.origin is None:
        return {}
    networks: dict[str, tuple[Source, ...]] = {}
    sources: dict[str, tuple[Source, ...]] = {}
    for path in sorted((Path(package.origin).parent / "models").glob("*.py")):
        text = path.read_text(encoding="utf-8", errors="replace")
        networks |= dict.fromkeys(_UNDER_A_NAME.findall(text), ())
        for name, source in _read_entries(text):
            sources[name] = (*sources.get(name, ()), source)
    return networks | {name: sources[name] for name in networks.keys() & sources.keys()}


def _read_entries(text: str) -> list[tuple[str, Source]]:
    """Return the entries of a table with an address; one that names its file in a repository is left to timm."""
    found = []
    for match in _ENTRY.finditer(text):
        entry = _COMMENT.sub("", text[match.end() : _end(text, match.end())])
        name, tag = match.groups()
        url, repo = _value("url", entry), _value("hf_hub_id", entry)
        if (url or repo) and "hf_hub_filename" not in entry:
            found.append((name, Source(tag, url, f"timm/{name}.{tag}" if repo == "timm/" else repo)))
    return found


def _end(text: str, start: int) -> int:
    match = _END.search(text, start)
    return match.start() if match else len(text)


def _value(key: str, entry: str) -> str | None:
    match = re.search(_VALUE.format(key=key), entry)
    return match[1] or None if match else None
