"""F11: a second beat, or a tick delivered twice, changes nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from django.db import connection

from scheduler.jobs.clock import database_now
from scheduler.loops import generator
from scheduler.models import Control, Job

pytestmark = pytest.mark.usefixtures("gpus")

SECONDS, RATE_PER_MINUTE = 5, 240


@pytest.fixture(autouse=True)
def _no_workload_is_kept():
    yield
    generator.workload.cache_clear()


def tick_at_once(beats: int, now) -> None:
    """The same tick of several beats, in threads of their own."""
    together = Barrier(beats)

    def tick(_) -> None:
        try:
            together.wait(10)
            generator.tick(now)
        finally:
            connection.close()

    with ThreadPoolExecutor(beats) as pool:
        list(pool.map(tick, range(beats)))


def jobs_of(beats: int, start) -> list[tuple]:
    """What was made in a few seconds with so many beats, from the same position each time."""
    Job.objects.all().delete()
    Control.objects.update(rate_per_minute=RATE_PER_MINUTE, next_arrival_at=start, arrivals=0)
    for second in range(1, SECONDS + 1):
        tick_at_once(beats, start + timedelta(seconds=second))
    return sorted(Job.objects.values_list("type", "priority"))


def test_two_beats_make_what_one_makes(control):
    start = database_now()
    one = jobs_of(1, start)

    assert len(one) > 10
    assert jobs_of(2, start) == one


@pytest.mark.mutant("no_tick_slots")
def test_without_slots_they_make_it_again(control):
    start = database_now()
    one = jobs_of(1, start)

    assert len(jobs_of(2, start)) >= 2 * len(one)
