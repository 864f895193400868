"""README, the pages of docs and what stands in them: blocks of code, links, and headings with their anchors."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from tlft.config.paths import PROJECT

README = PROJECT / "README.md"
PAGES = (README, *sorted((PROJECT / "docs").glob("*.md")))

_BLOCK = re.compile(r"(?m)(?:^<!-- needs: (?P<needs>.*) -->\n)?^```(?P<language>\w*)\n(?P<body>(?:.*\n)*?)^```$")
_LINK = re.compile(r"""\]\(([^)\s]+)\)|(?:src|href)=["']([^"']+)["']""")
_CODE = re.compile(r"`[^`\n]*`")


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        line: of the page, of its first line of code.
        needs: what the comment before it says that it needs; None if it has none.
    """

    line: int
    language: str
    body: str
    needs: str | None

    def commands(self) -> Iterator[tuple[int, str]]:
        """Yield what is typed after `$ `, and on the lines after one that ends with a backslash or a bar."""
        lines = iter(enumerate(self.body.splitlines(), self.line))
        for number, line in lines:
            if line.startswith("$ "):
                command = line.removeprefix("$ ")
                while command.endswith(("\\", "|")):
                    command = f"{command.removesuffix(chr(92))}\n{next(lines)[1]}"
                yield number, command.replace(" \n", " ")


def blocks(text: str) -> Iterator[Block]:
    """Yield the blocks of code of a page."""
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("body")) + 1
        yield Block(line, match["language"], match["body"], match["needs"])


def prose(text: str) -> str:
    """Return a page without its blocks of code."""
    return _BLOCK.sub("", text)


def links(text: str) -> list[str]:
    """Return the targets of all links and pictures of a page."""
    return [first or second for first, second in _LINK.findall(_CODE.sub("", prose(text)))]


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings as GitHub makes them: of two alike the second ends with `-1`."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"(?m)^#{1,6} (.+)$", prose(text)):
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        anchor = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return found
