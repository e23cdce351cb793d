"""What beat logs about ticks that it could not send."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from celery.beat import ScheduleEntry, Scheduler
from celery.schedules import schedule
from kombu import Producer

from scheduler.broker.reconnect import PromptConnection
from scheduler.celery import CONTROL_QUEUE, app
from scheduler.loops.celery_beat import WatchedScheduler

#: A port without a server.
NOBODY = "redis://127.0.0.1:1"


@dataclass
class Beat:
    producer: Producer
    scheduler: WatchedScheduler = field(default_factory=lambda: WatchedScheduler(app, lazy=True))

    def tick(self, **kwargs: object) -> None:
        entry = ScheduleEntry(
            name="generate",
            task="generate",
            schedule=schedule(run_every=1.0),
            kwargs=kwargs,
            options={"queue": CONTROL_QUEUE, "retry": False},
            app=app,
        )
        self.scheduler.apply_entry(entry, producer=self.producer)


@pytest.fixture
def beat() -> Iterator[Beat]:
    with PromptConnection(NOBODY, transport_options={"max_retries": 0}) as connection:
        yield Beat(Producer(connection, auto_declare=False))


def test_an_unavailable_broker_is_logged_once(beat: Beat, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        beat.tick()

    assert [(record.message, record.exc_info) for record in caplog.records] == [("broker_unreachable", None)]
    assert caplog.records[0].component == "beat"


def test_that_the_broker_has_recovered_is_logged_once(
    beat: Beat, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    beat.tick()
    monkeypatch.setattr(Scheduler, "apply_async", lambda *_args, **_options: None)
    for _ in range(3):
        beat.tick()

    assert [record.message for record in caplog.records if record.name == "scheduler.loops.celery_beat"] == [
        "broker_unreachable",
        "broker_recovered",
    ]


def test_a_tick_that_cannot_be_sent_for_another_reason_is_logged_each_time(
    beat: Beat, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        beat.tick(what=object())

    logged = [record for record in caplog.records if record.exc_info]
    assert [record.message for record in logged] == ["tick_not_sent"] * 2
