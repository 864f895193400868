"""Refuse one image that stands in two splits, where it would be trained on and reported, or in two classes."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from tlft.data.image_folder import Folder
from tlft.data.splits import ImageFile
from tlft.errors import ConfigurationError, TlftError
from tlft.storage.files import atomic_write, relative_name

log = logging.getLogger(__name__)


def refuse_shared_images(images: Sequence[ImageFile], folder: Folder, cache: Path) -> None:
    """Refuse an image (the same bytes) that stands in two splits, or in two classes of one; a file lists many pairs."""
    first: dict[str, ImageFile] = {}
    pairs: list[tuple[ImageFile, ImageFile]] = []
    for image in images:
        earlier = first.setdefault(image.sha256, image)
        if (earlier.split, earlier.label) != (image.split, image.label):
            pairs.append((earlier, image))
    if not pairs:
        return
    earlier, image = pairs[0]
    where = f"in {earlier.split} and in {image.split}" if earlier.split != image.split else "in two classes"
    more = f" ({len(pairs) - 1} more such pairs{_list_pairs(pairs, folder, cache)})" if len(pairs) > 1 else ""
    names = f"{folder.name_of(earlier.path)} and {folder.name_of(image.path)}"
    problem = f"{names} are the same image, {where}, which makes the figure wrong; delete one of them{more}"
    raise ConfigurationError(f"{folder.source}: {problem}")


def _list_pairs(pairs: Sequence[tuple[ImageFile, ImageFile]], folder: Folder, cache: Path) -> str:
    """Write the pairs into a file, a line each, the names with a tab between them; returns where it is, to be said."""
    lines = ["\t".join(relative_name(image.path, folder.root) for image in pair) + "\n" for pair in pairs]
    path = cache / "duplicates" / f"{hashlib.sha256(os.fsencode(folder.source)).hexdigest()[:16]}.tsv"
    try:
        atomic_write(path, "".join(lines).encode("utf-8", "surrogateescape"))
    except TlftError as error:  # a cache that may only be read
        log.debug("%s", error)
        return ""
    return f"; {path} lists all"
