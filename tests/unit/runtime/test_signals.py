"""Who is told to stop, how often, and by what: signals are sent to this very process."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence

import pytest

from tlft.runtime import signals

pytestmark = pytest.mark.usefixtures("listening")

INT, TERM, USR1, USR2 = signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2


def send(numbers: Sequence[int]) -> None:
    for number in numbers:
        signal.raise_signal(number)


@pytest.mark.parametrize(
    ("numbers", "raised"),
    [
        ([TERM], signals.Stopped),
        ([INT], KeyboardInterrupt),
        ([TERM, TERM, TERM], signals.Stopped),
        ([TERM, USR1, USR2, TERM], signals.Stopped),
        ([TERM, INT], signals.Stopped),
        ([INT, TERM, TERM], KeyboardInterrupt),
    ],
)
def test_what_is_under_way_is_ended_whatever_comes_but_a_second_ctrl_c(
    numbers: list[int], raised: type[BaseException]
) -> None:
    saved = False
    with pytest.raises(raised), signals.patient():
        send(numbers)
        assert signals.asked_to_stop()
        saved = True
    assert saved


@pytest.mark.parametrize("numbers", [[INT, INT], [TERM, INT, INT], [INT, TERM, INT]])
def test_a_second_ctrl_c_stops_at_once(numbers: list[int]) -> None:
    with pytest.raises(KeyboardInterrupt), signals.patient():
        send(numbers[:-1])
        with pytest.raises(KeyboardInterrupt):
            send(numbers[-1:])
        raise KeyboardInterrupt


@pytest.mark.parametrize("numbers", [[TERM], [USR1], [TERM, INT], [USR2, TERM]])
def test_what_is_said_at_the_end_is_not_broken_off_by_another_signal(numbers: list[int]) -> None:
    with pytest.raises(signals.Stopped):
        send([TERM])
    send(numbers)  # nothing is raised
    if INT in numbers:
        with pytest.raises(KeyboardInterrupt):
            send([INT])


class Dying:
    """What is told to stop in the moment in which it is thrown away."""

    def __del__(self) -> None:
        send([INT])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_whose_exception_python_has_thrown_away_is_told_again() -> None:
    Dying()
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            signals.stop_if_asked()


def test_what_fails_in_the_moment_of_a_signal_does_not_hide_it() -> None:
    with pytest.raises(ValueError, match="loss"), signals.patient():
        send([TERM])
        raise ValueError("loss")
    assert signals.asked_to_stop()
    with pytest.raises(signals.Stopped):
        signals.stop_if_asked()


@pytest.fixture
def requeued() -> Iterator[list[int]]:
    """Listen where submitit's handler stands, which puts the job back; return how often it was called."""
    calls: list[int] = []
    requeue: Callable[[int, object], None] = lambda number, frame: calls.append(number)  # noqa: E731
    signal.signal(USR2, requeue)
    signals.listen()
    yield calls
    signals._Heard.requeue = None


@pytest.mark.parametrize("numbers", [[USR2], [USR2, TERM], [TERM, USR2]])
def test_a_job_at_its_time_limit_is_put_back_once_whatever_else_is_sent(
    requeued: list[int], numbers: list[int]
) -> None:
    with pytest.raises(signals.Stopped), signals.patient():
        send(numbers)
    with pytest.raises(signals.Stopped):
        signals.stop_if_asked()
    assert requeued == [USR2]


def test_the_intent_is_said_once_and_that_ctrl_c_can_be_pressed_again(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(signals.Stopped), signals.patient():
        send([TERM, TERM, INT])
    assert capfd.readouterr().err.splitlines() == [
        "SIGTERM: stopping after this step, with a checkpoint",
        "SIGINT: stopping after this step, with a checkpoint; once more stops at once",
    ]
