"""A question that takes too long is not waited for, and keeps nothing waiting."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tlft.runtime.download import why_unreachable
from tlft.runtime.questions import ask_beside


@pytest.fixture
def never() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_an_answer_is_returned_and_an_error_raised_where_it_is_waited_for() -> None:
    assert ask_beside(lambda: "here", 60)() == "here"
    wait = ask_beside(lambda: int("no number"), 60)
    with pytest.raises(ValueError, match="no number"):
        wait()


def test_who_does_not_answer_is_not_waited_for(never: threading.Event) -> None:
    wait = ask_beside(never.wait, 0.05)
    with pytest.raises(TimeoutError):
        wait()


def test_a_name_that_is_looked_up_for_ever_is_given_up(never: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tlft.runtime.download.requests.head", lambda url, timeout: never.wait())
    assert why_unreachable("http://example.org", 0.05) == "no answer within 0.05 s"
