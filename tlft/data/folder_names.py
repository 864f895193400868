"""What the names in a folder of images say: which are images, which no person has put there, what a class is called."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Collection, Iterator
from contextlib import suppress
from importlib.util import find_spec
from operator import attrgetter
from pathlib import Path

_HEIC = (".heic", ".heif") if find_spec("pillow_heif") else ()
EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".gif", ".avif"),
    *_HEIC,
)
"""Of what moves the first picture counts; a telephone's HEIC needs `tlft[heic]`."""

_STAND_INS = ("imagenotfound.gif",)
"""What sites deliver in place of a photograph that is gone; one lies among the reference photographs."""

_OF_THE_SYSTEM = {
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "@eadir", "#recycle", "$recycle.bin", "lost+found"),
    *("system volume information", "__macosx", "__pycache__"),
}
"""What desktops, archives and storage servers leave in folders (in lower case), beside names that begin with a dot."""


def is_hidden(name: str) -> bool:
    """Tell whether a file or folder is none that a person has put there to be seen."""
    return name.startswith(".") or name.lower() in _OF_THE_SYSTEM


def list_visible(folder: Path) -> list[Path]:
    """Return what lies in a folder, but for what is hidden, sorted."""
    return sorted((path for path in folder.iterdir() if not is_hidden(path.name)), key=attrgetter("name"))


def walk_visible(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, but for what is hidden; a folder that links lead to again is seen once."""
    visited = set()
    for here, folders, files in os.walk(folder, onerror=_raise, followlinks=True):
        stat = Path(here).stat()
        if (stat.st_dev, stat.st_ino) in visited:
            folders.clear()
            continue
        visited.add((stat.st_dev, stat.st_ino))
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        yield from (Path(here, name) for name in sorted(files) if not is_hidden(name))


def _raise(error: OSError) -> None:
    raise error


def is_image(path: Path) -> bool:
    """Tell whether a file counts as an image, by its name; a pipe would be waited for, a broken link is named later."""
    is_named = path.suffix.lower() in EXTENSIONS and path.name.lower() not in _STAND_INS
    return is_named and (path.is_file() or (path.is_symlink() and not path.is_dir()))


def class_name(folder: Path) -> str:
    """Return what the class of a folder is called: in Unicode's composed form, as macOS may spell it otherwise.

    Raises:
        UnicodeDecodeError: if the name is no UTF-8.
    """
    return unicodedata.normalize("NFC", os.fsencode(folder.name).decode("utf-8"))


def folder_label(file: Path, classes: Collection[str]) -> str | None:
    """Return the class that a file's folder names; None if it names none."""
    with suppress(UnicodeDecodeError):
        name = class_name(file.absolute().parent)
        return name if name in classes else None
    return None


def rename_command(folder: Path) -> str:
    """Return a line for a shell (bash, zsh) that gives a folder, whose name is no UTF-8, the name that was meant.

    It is in ASCII, so that it can be pasted from any terminal.
    """
    parent, name = os.path.split(os.fsencode(folder))
    meant = name.decode("cp1252", "replace").encode()  # what Western archives were most often made with
    return f"mv {_in_bash(folder)} {_in_bash(Path(os.fsdecode(parent), os.fsdecode(meant)))}"


def _in_bash(path: Path) -> str:
    letters = (chr(byte) if 32 <= byte < 127 and byte not in b"'\\" else f"\\x{byte:02x}" for byte in os.fsencode(path))
    return f"$'{''.join(letters)}'"
