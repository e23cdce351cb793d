"""What beat logs about ticks that it could not send."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from celery.beat import ScheduleEntry, Scheduler
from celery.schedules import schedule
from kombu import Producer

from scheduler.broker.reconnect import PromptConnection
from scheduler.celery import CONTROL_QUEUE, app
from scheduler.loops import celery_beat
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


# --- by which clock


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the ticks that were sent, in their order."""
    names: list[str] = []

    def note(self: WatchedScheduler, entry: ScheduleEntry, producer: object = None) -> None:
        names.append(entry.name)

    monkeypatch.setattr(WatchedScheduler, "apply_entry", note)
    monkeypatch.setattr(WatchedScheduler, "producer", None)
    return names


class FakeTime:
    """Stands in for the module `time` where beat reads the monotonic clock."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    clock = FakeTime()
    monkeypatch.setattr(celery_beat, "time", clock)
    return clock


def ticks_in(seconds: float, scheduler: WatchedScheduler, clock: FakeTime) -> None:
    end = clock.now + seconds
    while clock.now < end:
        clock.now += max(0.01, scheduler.tick())


def test_ticks_are_sent_by_their_periods(sent: list[str], clock: FakeTime) -> None:
    ticks_in(20, WatchedScheduler(app), clock)

    assert sent.count("generate") in {20, 21}
    assert sent.count("keep_history") in {2, 3}


def test_a_wall_clock_that_was_set_back_stops_no_tick(
    sent: list[str], clock: FakeTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = WatchedScheduler(app)
    ticks_in(5, scheduler, clock)
    sent.clear()
    earlier = app.now() - timedelta(hours=1)
    monkeypatch.setattr(app, "now", lambda: earlier)
    for entry in scheduler.schedule.values():
        monkeypatch.setattr(entry.schedule, "nowfun", lambda: earlier)

    ticks_in(20, scheduler, clock)

    assert sent.count("generate") in {20, 21}
    assert sent.count("keep_history") == 2


def test_after_a_stop_of_the_process_nothing_is_made_up_for(sent: list[str], clock: FakeTime) -> None:
    scheduler = WatchedScheduler(app)
    ticks_in(5, scheduler, clock)
    sent.clear()

    clock.now += 3600
    scheduler.tick()

    assert sorted(sent) == ["generate", "keep_history"]
