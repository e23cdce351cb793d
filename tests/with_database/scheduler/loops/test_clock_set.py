"""The database's clock is set while jobs wait: they start all the same, and in their order."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import connection
from django.db.backends.signals import connection_created

from scheduler.broker import hints
from scheduler.jobs import lifecycle
from scheduler.jobs.lifecycle import Claimed
from scheduler.loops import generator
from scheduler.loops.clock_watch import ClockWatch
from scheduler.loops.lease import TERM_SECONDS, LeaseHolder
from scheduler.loops.relay import Relay
from scheduler.models import ClusterEvent, Control
from scheduler.rules.states import JobState, Reason
from scheduler.verdict.judge import judge
from tests.build import queued, reread, running, submit
from tests.model.clock import Clock
from tests.with_database.taking import run, take

pytestmark = pytest.mark.usefixtures("gpus")

HOUR = 3600.0


class WallClock(Clock):
    """The database's; `seconds` is this machine's monotonic clock, which `set_by` does not move."""

    def __init__(self) -> None:
        super().__init__()
        self.monotonic = 1000.0

    def advance(self, seconds: float) -> None:
        self.monotonic += seconds
        super().advance(seconds)

    def set_by(self, seconds: float) -> None:
        super().advance(seconds)


@pytest.fixture
def clock(transactional_db: None) -> Iterator[WallClock]:
    clock = WallClock()
    clock.install()
    clock.reset()
    yield clock
    connection_created.disconnect(clock._connected)
    connection.close()


@pytest.fixture
def watch(clock: WallClock) -> ClockWatch:
    watch = ClockWatch(monotonic=lambda: clock.monotonic)
    watch.tick(clock.monotonic)
    return watch


def look(watch: ClockWatch, clock: WallClock) -> int:
    clock.advance(0.5)
    return watch.tick(clock.monotonic)


def recorded() -> list[str]:
    return list(ClusterEvent.objects.filter(kind="clock_set").order_by("id").values_list("message", flat=True))


def test_jobs_from_before_a_set_back_start_at_once_and_before_newer_ones(clock, watch, redis):
    old = submit(2)
    clock.advance(30)
    clock.set_by(-HOUR)
    new = submit(1)
    clock.advance(1)

    assert look(watch, clock) == 2

    clock.advance(1)
    Relay(redis).tick(clock.monotonic)
    started = []
    while (hint := take(redis)) is not None:
        assert isinstance(run(hint), Claimed)
        started.append(hint[0])
    assert started == [job.id for job in [*old, *new]]


def test_what_is_left_of_a_back_off_stays(clock, watch):
    job = running()
    lifecycle.requeue(job.id, 1, Reason.CHILD_DIED)
    clock.set_by(-HOUR)

    look(watch, clock)

    after = reread(job)
    assert after.not_before - after.queued_at == timedelta(seconds=1)
    assert after.elsewhere_until is None
    clock.advance(1)
    assert isinstance(lifecycle.claim(job.id, 2, gpu=0, boot="boot-0"), Claimed)


@pytest.mark.parametrize(("by", "words"), [(-HOUR, "back by 3,600 s"), (HOUR, "forward by 3,600 s")])
def test_it_is_recorded_once(clock, watch, by, words):
    queued()
    look(watch, clock)
    assert recorded() == []

    clock.set_by(by)
    for _ in range(3):
        look(watch, clock)

    assert recorded() == [f"The database's clock was set {words}"]


def test_a_set_back_that_no_scheduler_saw_is_found_by_the_jobs_that_wait(clock):
    job = queued()
    clock.set_by(-HOUR)

    assert ClockWatch(monotonic=lambda: clock.monotonic).tick(clock.monotonic) == 1

    assert recorded() == ["The database's clock was set back by 3,600 s"]
    assert lifecycle.claim(job.id, 1, gpu=0, boot="boot-0")


@pytest.mark.parametrize("by", [-HOUR, HOUR])
def test_the_generator_makes_up_for_nothing_and_omits_nothing(clock, watch, control, by):
    generator.tick()
    clock.advance(20)
    generator.tick()
    [(next_at, made)] = Control.objects.values_list("next_arrival_at", "arrivals")
    rest = next_at - clock.now

    clock.set_by(by)
    look(watch, clock)
    generator.tick()

    [(after, made_after)] = Control.objects.values_list("next_arrival_at", "arrivals")
    assert made_after - made <= 1
    assert rest.total_seconds() < 0.5 or after - clock.now == rest - timedelta(seconds=0.5)


def test_a_lease_of_a_host_that_is_gone_ends_all_the_same(clock):
    assert LeaseHolder("relay", holder="former-host-name/1/abc").held(clock.monotonic)
    clock.set_by(-HOUR)

    assert LeaseHolder("relay").held(clock.monotonic)


def test_a_lease_is_not_taken_from_its_holder_for_a_small_step(clock):
    assert LeaseHolder("relay", holder="other-host/1/abc").held(clock.monotonic)
    clock.set_by(-0.5)

    assert not LeaseHolder("relay").held(clock.monotonic)
    clock.advance(TERM_SECONDS + 0.6)
    assert LeaseHolder("relay").held(clock.monotonic)


def test_the_verdict_accepts_times_that_run_back_only_where_it_is_recorded(clock, watch, state_dir):
    job = running()
    clock.advance(10)
    clock.set_by(-HOUR)
    look(watch, clock)
    lifecycle.end(job.id, 1, JobState.SUCCEEDED)

    assert judge(state_dir / "witness").broken["times_do_not_run_back"] == 0

    ClusterEvent.objects.all().delete()
    assert judge(state_dir / "witness").broken["times_do_not_run_back"] == 1


def test_times_that_run_back_long_after_a_set_back_are_a_breach(clock, watch, state_dir):
    clock.set_by(-HOUR)
    look(watch, clock)
    clock.advance(2 * HOUR)
    look(watch, clock)
    job = running()
    clock.set_by(-60)
    lifecycle.end(job.id, 1, JobState.SUCCEEDED)

    assert judge(state_dir / "witness").broken["times_do_not_run_back"] == 1


def test_hints_of_the_jobs_from_before_are_sent_by_the_relay(clock, watch, redis):
    submit(3)
    clock.set_by(-HOUR)
    look(watch, clock)
    clock.advance(1)

    Relay(redis).tick(clock.monotonic)

    assert len(hints.waiting(redis)["normal"]) == 3
