"""Ask an MLflow server whether it is there, and say within seconds, in one line, why not and how to mend it."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from tlft.database.schema import find_problems
from tlft.errors import TlftError, one_line
from tlft.runtime.questions import ask_beside

if TYPE_CHECKING:
    import requests

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 600.0  # for which a job of a sweep waits for a server that was there when the sweep began
_ANSWER_SECONDS = 4.0
_GREETING_SECONDS = 5.0  # of the whole greeting: names may resolve slowly, an answer may come drop by drop
_LOOK_SECONDS = 2.0
_QUESTION = "/api/2.0/mlflow/experiments/search"
_CREDENTIALS = (
    "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, to what the server takes"
)


class StoreAwayError(TlftError):
    """Say that a tracking store does not answer now, though it may later."""


def is_server(uri: str) -> bool:
    """Tell whether the address is a server's."""
    return uri.startswith(("http://", "https://"))


def wait_for_server(uri: str, patience: float = 0.0) -> None:
    """Return once the server has answered; at once if the address is no server's.

    One that does not answer is waited for `patience` seconds, one that refuses is not.

    Raises:
        StoreAwayError: if it does not answer; without patience within ten seconds.
        TlftError: if it is no MLflow server, or refuses the credentials.
    """
    deadline = time.monotonic() + patience
    waited = False
    while is_server(uri):
        try:
            _greet(uri)
            break
        except StoreAwayError as error:
            if time.monotonic() >= deadline:
                raise
            if not waited:
                log.warning("%s; waiting for it", error)
            waited = True
            time.sleep(_LOOK_SECONDS)
    if waited:
        log.info("tracking.uri=%s: is back", uri)


def ask_early(uri: str) -> Callable[[], None]:
    """Ask, beside other work, whether anything answers at the address; MLflow is not imported for it.

    Returns:
        A function that waits for the answer, and raises StoreAwayError if there is none in time.
    """
    if not is_server(uri) or find_problems(uri):
        return lambda: None

    def ask() -> requests.Response:
        import requests

        try:
            return requests.get(f"{uri}{_QUESTION}", {"max_results": "1"}, timeout=_ANSWER_SECONDS, stream=True)
        except requests.exceptions.SSLError:  # is an answer; what MLflow is told of certificates is not known here
            return requests.Response()

    answer = ask_beside(ask, _GREETING_SECONDS)

    def wait() -> None:
        with answering(uri):
            answer()

    return wait


def cannot_open(uri: str, error: Exception) -> StoreAwayError:
    """Return the one line for a store that does not answer."""
    reason = reason_of(error)
    if is_server(uri):
        mend = "start the server, or set tracking.uri"
    elif "No module named 'psycopg" in reason:
        mend = "install the driver: pip install -e '.[server]'"
    elif "locked" in reason:
        mend = "another process holds the database; type the same command again when that has ended"
    elif "disk is full" in reason or "disk I/O error" in reason:  # the latter too: SQLite writes beside the database
        mend = "make room on its disk, or set tracking.uri"
    else:
        mend = "set tracking.uri, or paths.home"
    return StoreAwayError(f"tracking.uri={uri}: cannot be opened ({reason}); {mend}")


@contextmanager
def answering(uri: str) -> Iterator[None]:
    """Turn whatever MLflow, a driver or a server raises within the block into the one line."""
    try:
        yield
    except TlftError:
        raise
    except Exception as error:  # each library has its own
        raise cannot_open(uri, error) from error


def reason_of(error: Exception) -> str:
    """Say in a few words why a store did not answer: what a library puts around it is left out."""
    text = one_line(error)
    if isinstance(error, TimeoutError) or "timed out" in text or "timeout" in text:
        return "it does not answer in time"
    match = re.search(r"\[Errno -?\d+\] ([^'\")]+)", text) or re.search(r"\(Caused by .*['\"]([^'\"]+)['\"]", text)
    return match[1] if match else text.partition(" [SQL: ")[0].partition(" (Background on ")[0][:200]


def _greet(uri: str) -> None:
    """Ask the server a small question that needs its database and the credentials, once."""
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    def ask() -> requests.Response:
        options = {"params": {"max_results": 1}, "max_retries": 0, "timeout": _ANSWER_SECONDS}
        credentials = get_default_host_creds(uri)  # type: ignore[no-untyped-call]
        return http_request(credentials, _QUESTION, "GET", raise_on_status=False, **options)  # type: ignore[no-any-return, no-untyped-call]

    with answering(uri):
        answer = ask_beside(ask, _GREETING_SECONDS)()
    content = None
    with suppress(ValueError):
        content = answer.json()
    if answer.status_code == 200 and isinstance(content, dict) and (not content or "experiments" in content):
        return
    code = f"{answer.status_code} {answer.reason}".strip()
    if answer.status_code == 401:
        raise TlftError(f"tracking.uri={uri}: refuses the credentials ({code}); {_CREDENTIALS}")
    if answer.status_code == 403:
        reason = one_line(answer.text, 100)
        mend = "give the user the right, or start the server with --allowed-hosts HOST"
        raise TlftError(f"tracking.uri={uri}: forbids it ({code}: {reason}); {mend}")
    if answer.status_code >= 500 or answer.status_code == 429:
        mend = "look into the server's log, or set tracking.uri"
        raise StoreAwayError(f"tracking.uri={uri}: answers with an error ({code}); {mend}")
    raise TlftError(f"tracking.uri={uri}: is no MLflow server ({code}); set tracking.uri=http://HOST:PORT of one")
