"""On whose work the bits of decoded images and features depend, and whether that is the work of this installation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import PIL

from tlft.storage.checked_json import DamagedFileError, read_checked

DECODED_FORMAT = 3
"""Goes up when `tlft.pixels.pixel_store` gives other pixels, or lays out records in another way."""

FEATURES_FORMAT = 2
"""Goes up when `tlft.features` computes other features, or lays its cache out in another way."""

FACTS = "border.json"
"""The file in a folder of features that says what computed them, and where the network is cut."""

Versions = Mapping[str, str]
"""Name of a library or a format -> its version."""

_DECODED, _PILLOW, _FEATURES = "the format of decoded images", "Pillow", "the format of features"


def decoder_versions() -> dict[str, str]:
    """Return who decodes images here: another Pillow may give other pixels, and read files that this one calls bad."""
    return {_DECODED: str(DECODED_FORMAT), _PILLOW: PIL.__version__}


def feature_versions(*libraries: str) -> dict[str, str]:
    """Return who computes features here with a network of these libraries, from pixels that are decoded here."""
    own = {**decoder_versions(), _FEATURES: str(FEATURES_FORMAT)}
    return own | {name: metadata.version(name) for name in libraries}


def name_of_decoded(geometry: str) -> str:
    """Return what the folder is called that has images decoded here."""
    return f"{geometry}-format-{DECODED_FORMAT}-pillow-{PIL.__version__}"


def versions_in_name(name: str) -> Versions | None:
    """Return who decoded the images in a folder of that name; None where it does not say so."""
    match = re.fullmatch(r".+-format-(\d+)-pillow-(.+)", name)
    return None if match is None else {_DECODED: match[1], _PILLOW: match[2]}


def versions_of_features(folder: Path) -> Versions | None:
    """Return who computed the features in a folder; None where that is not said, or damaged.

    Raises:
        OSError: if it is said, and cannot be read.
    """
    try:
        versions: dict[str, str] = read_checked(folder / FACTS)["facts"]["versions"]
    except (FileNotFoundError, DamagedFileError, KeyError, TypeError):
        return None
    return versions


def other_version(versions: Versions) -> str:
    """Return the first of these that is not here, with its version; nothing if all are here."""
    return next((f"{name} ({version})" for name, version in versions.items() if _here(name) != version), "")


def _here(name: str) -> str | None:
    own = feature_versions()
    try:
        return own[name] if name in own else metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
