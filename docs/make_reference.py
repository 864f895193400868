"""`make reference`: write docs/reference.md, which says of every group, option and key what `--help` says of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tlft.config.compose import Composer
from tlft.config.help import GROUPS, Key, Section, describe_keys, options_of

_VARIANTS = (
    *("optimizer=adam", "optimizer=adamw", "optimizer=torch", "schedule=step", "augment=random_resized_crop"),
    *("augment=rand", "augment=mixup", "data=manifest", "data=synthetic", "hydra/launcher=parallel"),
    "hydra/launcher=slurm",
)
"""Options that have keys of their own."""

_HEAD = """\
# Reference of groups and keys

*Made by `make reference` of the docstrings in `tlft/config/` and the files in `conf/`; `python run.py --help`
shows the same for the options that are given with it.*

`group=option` chooses, `key=value` sets, and a key beats a preset. `null` is no value; what holds `, ( ) { }` or `=` is
put in quotes. An option of your own is a file beside the others in `conf/`, or in the folder that `--config-dir` names.
"""


def reference() -> str:
    """Return the page."""
    composer = Composer()
    lines = [_HEAD, "## Groups\n"]
    for group, meaning in GROUPS.items():
        lines.append(f"### `{group}`: {meaning}\n\n| option | |\n|---|---|")
        lines += [f"| `{name}` | {_cell(text)} |" for name, text in options_of(group, composer.loader).items()]
        lines.append("")
    lines.append("## Keys\n")
    lines += _tables(describe_keys(composer.compose([]), resolve=False))
    for variant in _VARIANTS:
        sections = describe_keys(composer.compose([variant]), resolve=False)
        name = variant.partition("=")[0].replace("/", ".")
        lines += _tables([section for section in sections if section.name == name], f" (`{variant}`)")
    return "\n".join(lines).rstrip("\n") + "\n"


def _tables(sections: list[Section], variant: str = "") -> Iterator[str]:
    for section in sections:
        title = f"`{section.name}`{variant}: {section.meaning}" if section.name else "At the top"
        yield f"### {title}\n\n| key | default | values | meaning |\n|---|---|---|---|"
        yield from map(_row, section.keys)
        yield ""


def _row(key: Key) -> str:
    default = key.default if len(key.default) <= 40 else f"{key.default[:37]}..."
    return f"| `{key.name}` | `{default}` | {_cell(key.values)} | {_cell(key.meaning)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


if __name__ == "__main__":
    Path(__file__).with_name("reference.md").write_text(reference(), encoding="utf-8")
