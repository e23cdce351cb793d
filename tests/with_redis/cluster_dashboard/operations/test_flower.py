"""Flower's receiver of events, while the broker is away and after it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from cluster_dashboard.operations import flower as flower_events
from cluster_dashboard.operations.flower import PromptEvents
from scheduler.broker.reconnect import LONGEST_SECONDS, PromptAMQP
from scheduler.celery import app
from scheduler.redis_url import celery_url
from tests.services import ValkeyServer, wait_until

#: Flower's own fifth wait is 32 s long.
TRIES = 5


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    """One of its own: it goes away."""
    with TemporaryDirectory(prefix="events-") as folder, ValkeyServer(Path(folder, "broker.sock")) as server:
        yield server


class Waits(list[float]):
    """How long the receiver waits after each try; no wait takes long. It ends where the test does."""

    def __init__(self) -> None:
        self.ended = Event()

    def sleep(self, seconds: float) -> None:
        self.append(seconds)
        time.sleep(0.05)
        if self.ended.is_set():
            raise SystemExit


class Receiver(PromptEvents):
    def run(self) -> None:
        with suppress(SystemExit):
            super().run()


class Loop:
    """Runs at once what is to run in Flower's event loop."""

    def add_callback(self, callback: Any, *args: Any) -> None:
        callback(*args)


def test_it_hears_again_soon_however_long_the_broker_was_away(
    server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Celery(broker=celery_url(server.url), amqp=PromptAMQP, set_as_current=False)
    own.conf.broker_transport_options = {**app.conf.broker_transport_options, "connect_retries_timeout": 0.1}
    waits = Waits()
    monkeypatch.setattr(flower_events, "time", SimpleNamespace(sleep=waits.sleep))
    events = Receiver(own, Loop(), enable_events=False, max_tasks_in_memory=10)
    server.stop()

    events.start()
    wait_until(lambda: len(waits) >= TRIES, 30, lambda: f"it tries again: {waits}")
    server.start()

    def shown() -> bool:
        with own.events.default_dispatcher() as dispatcher:
            dispatcher.send("worker-online")
        return bool(events.state.workers)

    wait_until(shown, 10, lambda: f"it hears: {waits}")
    assert max(waits) <= LONGEST_SECONDS
    waits.ended.set()
    server.stop()
    events.join(10)
    assert not events.is_alive()
