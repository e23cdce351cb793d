"""The generator on both databases."""

from __future__ import annotations

from datetime import timedelta
from math import sqrt

import pytest

from scheduler import generator
from scheduler.controls import change_control
from scheduler.lifecycle import database_now
from scheduler.models import Control, Job

pytestmark = pytest.mark.usefixtures("gpus")


def tick_for(seconds, *, start=None, step=1.0):
    """Ticks once a `step`; gives the jobs made, and the time reached."""
    now = start or database_now()
    made = []
    for _ in range(int(seconds / step)):
        now += timedelta(seconds=step)
        made += generator.tick(now)
    return made, now


@pytest.mark.parametrize("rate_per_minute", [2, 12, 50])
def test_five_minutes_of_arrivals_fit_the_rate(control, rate_per_minute):
    change_control(actor="a test", rate_per_minute=rate_per_minute)

    made, _ = tick_for(300)

    expected = 5 * rate_per_minute
    assert abs(len(made) - expected) < 4 * sqrt(expected)


def test_the_same_tick_twice_makes_nothing_twice(control):
    change_control(actor="a test", rate_per_minute=600)
    start = database_now()
    first = generator.tick(start)
    now = start + timedelta(seconds=5)

    made = generator.tick(now)

    assert first == []
    assert len(made) > 20
    assert generator.tick(now) == []
    assert Job.objects.count() == len(made)


def test_the_same_seed_makes_the_same_jobs_however_ticks_fall(control):
    start = database_now()
    Control.objects.update(rate_per_minute=300, next_arrival_at=start)
    made, _ = tick_for(10, start=start)
    coarse = list(Job.objects.order_by("id").values_list("type", "priority", "params"))
    Job.objects.all().delete()
    Control.objects.update(next_arrival_at=start, arrivals=0)

    tick_for(10, start=start, step=2.5)

    assert len(made) > 20
    assert list(Job.objects.order_by("id").values_list("type", "priority", "params")) == coarse


def test_a_changed_rate_draws_the_next_arrival_anew(control):
    change_control(actor="a test", rate_per_minute=0.1)
    now = database_now()
    generator.tick(now)
    assert Control.objects.get().next_arrival_at > now

    change_control(actor="a test", rate_per_minute=50_000)

    assert len(tick_for(1, start=now)[0]) == 0  # this tick draws the arrival, from now on
    assert len(generator.tick(now + timedelta(seconds=2))) > 100


def test_a_pause_makes_nothing_and_nothing_is_made_up_for_afterwards(control):
    change_control(actor="a test", rate_per_minute=600, paused=True)
    made, now = tick_for(60)

    change_control(actor="a test", paused=False)

    assert made == []
    assert len(generator.tick(now)) == 0
    assert len(tick_for(2, start=now)[0]) < 60


def test_after_a_long_stall_only_seconds_are_made_up_for(control):
    change_control(actor="a test", rate_per_minute=600)
    now = database_now()
    generator.tick(now)

    made = generator.tick(now + timedelta(hours=1))

    assert 100 < len(made) < 210  # 15 s at 10 a second


def test_many_arrivals_go_in_by_small_transactions(control, django_assert_max_num_queries):
    change_control(actor="a test", rate_per_minute=100_000)
    now = database_now()
    generator.tick(now)

    with django_assert_max_num_queries(120):
        made = generator.tick(now + timedelta(seconds=1))

    assert abs(len(made) - 1667) < 4 * sqrt(1667)
    assert len(set(Job.objects.values_list("submitted_at", flat=True))) > 1
