"""Write tlft/data/wordnet.json: ImageNet's 1000 classes and all that stands above them in WordNet 3.0.

    python docs/make_wordnet.py DATA.NOUN SYNSETS

DATA.NOUN is WordNet 3.0's file of nouns (format: wndb(5WN)); SYNSETS has the WordNet ids of a network's outputs in
their order, as timm has them in `timm/data/_info/imagenet_synsets.txt`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

_TO = Path(__file__).parents[1] / "tlft" / "data" / "wordnet.json"
_IS_A = ("@", "@i")


def main(argv: Sequence[str]) -> None:
    """Write the file."""
    nouns = dict(map(_entry, _lines(Path(argv[0]))))
    outputs = Path(argv[1]).read_text().split()
    above, pending = dict[str, tuple[list[str], list[str]]](), list(outputs)
    while pending:
        identity = pending.pop()
        if identity not in above:
            above[identity] = nouns[identity]
            pending += nouns[identity][1]
    entries = ",\n".join(f"{json.dumps(key)}:{json.dumps(above[key], separators=(',', ':'))}" for key in sorted(above))
    _TO.write_text(f'{{"outputs":{json.dumps(outputs, separators=(",", ":"))},\n"synsets":{{\n{entries}\n}}}}\n')


def _lines(path: Path) -> list[str]:
    """Return the lines of entries; those of the licence begin with two spaces."""
    return [line for line in path.read_text("ascii").splitlines() if not line.startswith("  ")]


def _entry(line: str) -> tuple[str, tuple[list[str], list[str]]]:
    """Return a synset's WordNet id, its words, and the ids of what it is a kind of."""
    fields = line.partition("|")[0].split()
    count = int(fields[3], 16)
    words = [word.replace("_", " ") for word in fields[4 : 4 + 2 * count : 2]]
    pointers = fields[5 + 2 * count :]
    kinds = zip(pointers[::4], pointers[1::4], strict=False)
    return f"n{fields[0]}", (words, [f"n{target}" for symbol, target in kinds if symbol in _IS_A])


if __name__ == "__main__":
    main(sys.argv[1:])
