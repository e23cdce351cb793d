"""A connection to a broker that is away tries again at an even pace, and says so now and then."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from types import SimpleNamespace

import pytest
from celery import Celery
from kombu.exceptions import OperationalError
from kombu.utils import functional

from scheduler.broker import reconnect
from scheduler.broker.reconnect import LONGEST_SECONDS, SHORTEST_SECONDS, PromptAMQP, PromptConnection
from scheduler.celery import app

#: Nobody listens there.
NOBODY = "redis://127.0.0.1:1"


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock: seconds of each sleep of kombu's, which take no time."""
    seconds: list[float] = []
    monkeypatch.setattr(functional, "sleep", seconds.append)
    monkeypatch.setattr(reconnect, "time", SimpleNamespace(monotonic=lambda: sum(seconds)))
    return seconds


@pytest.fixture
def connection() -> Iterator[PromptConnection]:
    with PromptConnection(NOBODY) as connection:
        yield connection


def test_every_wait_is_short_however_long_the_broker_is_away(connection: PromptConnection, slept: list[float]) -> None:
    with pytest.raises(OperationalError):
        connection.ensure_connection(None, 40)

    assert 40 * SHORTEST_SECONDS <= sum(slept) <= 40 * LONGEST_SECONDS


def test_connections_do_not_wait_in_step(slept: list[float]) -> None:
    totals = set()
    for _ in range(8):
        slept.clear()
        with PromptConnection(NOBODY) as connection, pytest.raises(OperationalError):
            connection.ensure_connection(None, 1)
        totals.add(sum(slept))

    assert len(totals) == 8


def test_it_is_said_at_once_and_then_every_half_minute(connection: PromptConnection, slept: list[float]) -> None:
    said_at: list[float] = []

    with pytest.raises(OperationalError):
        connection.ensure_connection(lambda *_: said_at.append(sum(slept)), 90)

    assert said_at[0] == 0
    gaps = [later - earlier for earlier, later in pairwise(said_at)]
    assert len(gaps) >= 1
    assert all(30 <= gap <= 30 + LONGEST_SECONDS for gap in gaps)


def test_a_caller_may_choose_another_pace(connection: PromptConnection, slept: list[float]) -> None:
    with pytest.raises(OperationalError):
        connection.ensure_connection(None, 2, interval_start=0.25, interval_max=0.25)

    assert sum(slept) == 0.5


def test_every_connection_of_the_cluster_is_of_that_kind() -> None:
    with app.connection_for_read() as reading, app.connection_for_write() as writing, reading.clone() as copy:
        assert {type(reading), type(writing), type(copy)} == {PromptConnection}


def test_who_only_sends_waits_no_longer_either(slept: list[float]) -> None:
    """A channel is opened under the connection's own options, where Celery passes none."""
    own = Celery(broker=NOBODY, amqp=PromptAMQP, set_as_current=False)
    own.conf.broker_transport_options = app.conf.broker_transport_options

    with own.connection(transport_options={"max_retries": 8}) as connection, pytest.raises(OperationalError):
        connection.default_channel  # noqa: B018 (opens it)

    assert 0 < sum(slept) <= 8
