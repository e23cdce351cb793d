"""One tick of a loop that acts under a lease."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
from django.db import OperationalError
from redis.exceptions import ConnectionError as RedisConnectionError

from scheduler.loops.process import BUSY_FROM, BUSY_PERIOD_SECONDS, LOOP_SECONDS, LeasedLoop


def a_loop(act: Callable[[float], int], *, holds_lease: bool = True) -> LeasedLoop:
    loop = LeasedLoop("relay", act)
    loop._lease = SimpleNamespace(held=lambda now: holds_lease)
    return loop


def test_it_acts_while_it_holds_its_lease() -> None:
    seen: list[float] = []

    assert a_loop(lambda now: seen.append(now) or 0).tick(7.0)

    assert seen == [7.0]


def test_without_the_lease_it_only_looks() -> None:
    seen: list[float] = []

    assert a_loop(lambda now: seen.append(now) or 0, holds_lease=False).tick(7.0)

    assert not seen


@pytest.mark.parametrize(
    ("error", "event"),
    [(RedisConnectionError("refused"), "broker_unreachable"), (OperationalError("refused"), "database_unreachable")],
)
def test_what_is_unreachable_is_logged_once_and_the_tick_did_not_work(
    caplog: pytest.LogCaptureFixture, error: Exception, event: str
) -> None:
    def fails(_now: float) -> int:
        raise error

    loop = a_loop(fails)

    assert not any(loop.tick(now) for now in (1.0, 2.0, 3.0))

    (record,) = caplog.records
    assert (record.message, record.component) == (event, "relay")


def test_a_loop_with_much_to_do_runs_again_sooner() -> None:
    found = iter([BUSY_FROM, 0])
    loop = a_loop(lambda _now: next(found))

    loop.tick(1.0)
    assert loop.period_seconds() == BUSY_PERIOD_SECONDS

    loop.tick(2.0)
    assert loop.period_seconds() == LOOP_SECONDS
