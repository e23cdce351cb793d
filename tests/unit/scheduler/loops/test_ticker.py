"""A loop with a thread: it ticks until it is stopped, whatever a tick does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import count

import pytest

from scheduler.loops.ticker import Ticker
from tests.services import wait_until

type Start = Callable[..., Ticker]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[Ticker] = []

    def start(tick: Callable[[float], bool], period: float | Callable[[], float] = 0.001, **options: object) -> Ticker:
        ticker = Ticker("part", tick, period, **options)
        started.append(ticker)
        ticker.start()
        return ticker

    yield start
    for ticker in started:
        ticker.stop()


def test_it_ticks_in_a_thread_of_its_name_until_it_is_stopped(start: Start) -> None:
    names: list[str] = []
    ticker = start(lambda _now: names.append(threading.current_thread().name) is None)
    wait_until(lambda: len(names) >= 3, 5, "three ticks")

    ticker.stop()

    assert not ticker.is_alive()
    assert set(names) == {"part"}


def test_an_exception_does_not_end_the_loop(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    ticks = count()

    def fails_once(_now: float) -> bool:
        if next(ticks) == 0:
            raise ZeroDivisionError
        return True

    ticker = start(fails_once)
    wait_until(lambda: ticker.sign.worked_at > 0, 5, "a later tick works")

    (record,) = caplog.records
    assert (record.message, record.loop) == ("tick_failed", "part")


def test_a_tick_that_does_not_work_only_turns(start: Start) -> None:
    ticks = count()
    ticker = start(lambda _now: next(ticks) < 0)
    wait_until(lambda: next(ticks) > 3, 5, "some ticks")

    assert ticker.sign.worked_at == float("-inf")


def test_the_period_is_asked_before_each_wait(start: Start) -> None:
    periods = [600.0, 0.001, 0.001]
    ticks: list[float] = []

    start(lambda now: ticks.append(now) is None, periods.pop)
    wait_until(lambda: not periods, 5, "the third wait")

    assert len(ticks) == 2


def test_what_is_to_be_done_at_the_end_is_done_once_after_the_last_tick(start: Start) -> None:
    story: list[str] = []
    ticker = start(lambda _now: story.append("tick") is None, at_end=lambda: story.append("end"))
    wait_until(lambda: story, 5, "a tick")

    ticker.stop()

    assert story[-1] == "end"
    assert story.count("end") == 1


def test_one_that_was_never_started_can_be_stopped() -> None:
    Ticker("part", lambda _now: True, 1.0).stop()
