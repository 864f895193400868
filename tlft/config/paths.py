"""Where the project is and where everything is written; which files lie there is known elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

from tlft.errors import ConfigurationError

PROJECT = Path(__file__).resolve().parents[2]
CONF = PROJECT / "conf"


def existing_home() -> Path:
    """Return `home_folder()`, for a command that has nothing to look at elsewhere.

    Raises:
        ConfigurationError: if it is no folder.
    """
    home = home_folder()
    if not home.is_dir():
        raise ConfigurationError(
            f"TLFT_HOME={home}: {'is a file' if home.exists() else 'no such folder'}; name a folder"
        )
    return home


def home_folder() -> Path:
    """Return the folder that holds everything written: `TLFT_HOME`, or the project folder."""
    return Path(os.environ.get("TLFT_HOME") or PROJECT).expanduser().absolute()
