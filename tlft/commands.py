"""The commands that there are, and how a user of this installation types them; nothing of the project is imported."""

from __future__ import annotations

import sys
from pathlib import Path

COMMANDS = {
    "run": ("tlft.run", "run one experiment, or a sweep of them"),
    "table": ("analysis.table", "the comparison table, from the runs that MLflow keeps"),
    "report": ("analysis.report.__main__", "one page with the answer, the comparisons and the photographs"),
    "curve": ("analysis.curve.__main__", "a picture along one setting: images, epochs, stages, networks"),
    "errors": ("analysis.errors", "a page of near-duplicates and of labels that networks contradict"),
    "diff": ("analysis.diff", "in what two runs differ"),
    "predict": ("tlft.predict", "classify image files with the network of a run"),
    "data": ("tlft.data.__main__", "describe a folder of images before any run"),
    "models": ("tlft.models.__main__", "the networks that there are, by name"),
    "imagenet": ("tlft.imagenet", "which of ImageNet's 1000 outputs a class may stand for"),
    "register": ("tlft.register", "put the network of a run into MLflow's registry"),
    "sync": ("tlft.sync", "deliver what MLflow has not got yet"),
    "clean": ("tlft.clean", "say what may be deleted, and delete it"),
    "ui": ("tlft.ui", "show every run in MLflow's pages"),
    "completion": ("tlft.completion", "complete commands, groups and keys in your shell"),
}
"""Name -> (module, what it does); `tlft NAME` runs the module, as `python -m MODULE` does."""

_ROOT = Path(__file__).resolve().parents[1]

IS_CHECKOUT = (_ROOT / "pyproject.toml").is_file()
"""Whether this is a copy of the project, and not an installed wheel."""


def invocation(name: str) -> str:
    """Return how a command is typed here: `tlft NAME` where it was so, or where no checkout has a `run.py`."""
    if sys.argv[0].startswith("tlft ") or (name == "run" and not IS_CHECKOUT):
        return f"tlft {name}"
    return _in_checkout(name)


def _in_checkout(name: str) -> str:
    return "python run.py" if name == "run" else f"python -m {COMMANDS[name][0].removesuffix('.__main__')}"


def as_typed(text: str) -> str:
    """Return a text that names commands as a checkout has them (`python -m tlft.models`), each as it is typed here."""
    for name in COMMANDS:
        text = text.replace(_in_checkout(name), invocation(name))
    return text
