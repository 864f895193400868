"""Keep the passwords in addresses of tracking stores out of all that is written, and give them to whoever connects.

An address with a password is known by what it is without (`postgresql://user:***@host/db`) from the command line on.
Processes that this one starts get the whole of it through the environment; what is written does not.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlparse

from omegaconf import DictConfig, ListConfig, OmegaConf, read_write

from tlft.errors import PASSWORD, ConfigurationError, without_passwords

VARIABLE = "TLFT_WHOLE_ADDRESSES"


def hide_password(address: str) -> str:
    """Return an address without its password, which is remembered for `whole_address`."""
    hidden = without_passwords(address)
    if hidden != address and address not in (whole := _remembered()):
        os.environ[VARIABLE] = json.dumps([address, *whole])
    return hidden


def place_of(uri: str, experiment_id: str, own: str) -> str:
    """Return what tells an experiment from all others of which a home keeps something.

    `own` is the address of the home's own database, which may be moved with it.
    """
    return experiment_id if uri == own else f"{hashlib.sha256(uri.encode()).hexdigest()[:8]}-{experiment_id}"


def name_in_home(place: str, key: str) -> str:
    """Return what the claim and the folder of a run are called in a home, by its experiment's `place_of` and key."""
    return f"{place}-{key[:32]}"


def whole_address(hidden: str) -> str:
    """Return the address to connect to.

    Raises:
        ConfigurationError: if its password is not known here: it is kept nowhere.
    """
    if PASSWORD not in hidden:
        return hidden
    for address in (*_remembered(), os.environ.get("MLFLOW_TRACKING_URI", "")):
        if without_passwords(address) == hidden:
            return address
    raise ConfigurationError(
        f"tracking.uri={hidden}: its password is kept nowhere; set MLFLOW_TRACKING_URI to the whole address"
    )


def hide_known(text: str) -> str:
    """Return a text without passwords, also of such as only the addresses seen before tell."""
    for address in _remembered():
        text = text.replace(address, without_passwords(address))
    return without_passwords(text)


def find_address_problems(uri: str) -> list[str]:
    """Return what is wrong with the address of a server, in a line with its mend; whether one is there is not asked."""
    mend = "give http://HOST:PORT of an MLflow server"
    try:
        parsed = urlparse(uri)
        host, _ = parsed.hostname, parsed.port
    except ValueError as error:
        return [f"tracking.uri={uri}: is no address ({error}); {mend}"]
    if parsed.username or parsed.password:
        return [
            f"tracking.uri={parsed.scheme}://...@{host}: holds credentials, which would be written into every run; set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead"
        ]
    if not host or not re.fullmatch(r"[\w.:%-]+", host) or parsed.query or parsed.fragment:
        return [f"tracking.uri={uri}: is no address; {mend}"]
    return []


def _remembered() -> list[str]:
    remembered: list[str] = json.loads(os.environ.get(VARIABLE, "[]"))
    return remembered


def hide_passwords(cfg: DictConfig, parts: Iterable[str] | None = None) -> DictConfig:
    """Take the passwords out of (some parts of) a composed configuration, before anybody writes it; returns it."""
    uri = OmegaConf.select(cfg, "tracking.uri", throw_on_resolution_failure=False)
    if isinstance(uri, str) and (hidden := hide_password(uri)) != uri:  # also what an interpolation comes to
        cfg.tracking.uri = hidden
    for node, key, text in _texts(cfg, parts):
        if (hidden := without_passwords(text)) != text:
            with read_write(node):
                node[key] = hidden
    return cfg


def _texts(cfg: Any, parts: Iterable[str] | None) -> Iterator[tuple[Any, Any, str]]:
    """Yield every text that stands in (some parts of) a configuration, with where it stands; interpolations as are."""
    pending = [cfg]
    while pending:
        node = pending.pop()
        if node._is_none() or node._is_missing() or node._is_interpolation():
            continue
        names = parts if parts is not None and node is cfg else list(node) if isinstance(node, DictConfig) else None
        for key in range(len(node)) if names is None else names:
            child = node._get_node(key)
            if isinstance(child, DictConfig | ListConfig):
                pending.append(child)
            elif child is not None and isinstance(text := child._value(), str):
                yield node, key, text
