"""ImageNet's 1000 classes in the hierarchy of WordNet 3.0 (Fellbaum 1998), from which their ids (`n02084071`) come.

The file beside this module holds those classes and all that stands above them (`docs/make_wordnet.py` made it;
wordnet_license.txt is WordNet's licence).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_ID = re.compile(r"n\d{8}")


@dataclass(frozen=True)
class Synset:
    """A thing that has words for it, and the outputs of a 1000-class head that are kinds of it.

    Attributes:
        words: for it, the commonest first.
        outputs: sorted indices, 0 to 999; one at least.
    """

    id: str
    words: tuple[str, ...]
    outputs: tuple[int, ...]


def is_wordnet_id(text: str) -> bool:
    """Tell whether a text is written as a WordNet id of a noun is: n and eight digits."""
    return _ID.fullmatch(text) is not None


@cache
def synsets() -> Mapping[str, Synset]:
    """Return all that cover an output of ImageNet's, by their ids."""
    content = json.loads((Path(__file__).parent / "wordnet.json").read_text(encoding="ascii"))
    above: Mapping[str, tuple[list[str], list[str]]] = content["synsets"]
    covered: dict[str, list[int]] = {identity: [] for identity in above}
    for output, leaf in enumerate(content["outputs"]):
        for identity in _with_all_above(leaf, above):
            covered[identity].append(output)
    return {key: Synset(key, tuple(words), tuple(covered[key])) for key, (words, _) in above.items()}


def _with_all_above(leaf: str, above: Mapping[str, tuple[list[str], list[str]]]) -> set[str]:
    reached, pending = set[str](), [leaf]
    while pending:
        if (identity := pending.pop()) not in reached:
            reached.add(identity)
            pending += above[identity][1]
    return reached


def search(text: str) -> list[Synset]:
    """Return what has a text among its words: first what is called so (or by its singular), the widest first."""
    queries = {query := _plain(text), query.removesuffix("s"), query.removesuffix("es")}

    def names(synset: Synset) -> Iterator[str]:
        return map(_plain, synset.words)

    whole = re.compile("|".join(rf"\b{re.escape(each)}\b" for each in sorted(queries) if each) or "$.")
    matches = [each for each in synsets().values() if each.id == query or any(map(whole.search, names(each)))]
    return sorted(matches, key=lambda each: (not queries & {each.id, *names(each)}, -len(each.outputs), each.id))


def _plain(text: str) -> str:
    return " ".join(text.lower().replace("_", " ").replace("-", " ").split())
