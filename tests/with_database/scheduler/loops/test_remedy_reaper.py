"""F16: whoever finds a death moves the row: nothing is "started" for ever."""

from __future__ import annotations

import pytest

from scheduler.loops.heartbeats import SILENCE_SECONDS
from scheduler.loops.reaper import Reaper
from scheduler.models import Allocation, Tally
from tests.build import reread, running, story

pytestmark = pytest.mark.usefixtures("gpus")

MINUTES = 3


def look_for_minutes(redis) -> float | None:
    """The reaper's own looks, twice a second; gives the seconds until it found something."""
    reaper = Reaper(redis)
    for half_seconds in range(MINUTES * 120):
        if reaper.tick(100 + half_seconds / 2):
            return half_seconds / 2
    return None


def test_the_history_of_a_dead_workers_job_goes_on(redis):
    job = running()

    found_after = look_for_minutes(redis)

    assert found_after is not None
    assert SILENCE_SECONDS <= found_after <= 10
    assert [kind for _, kind, _ in story(job)] == ["submitted", "started", "requeued"]
    assert (Tally.objects.total("running"), Tally.objects.total("queued")) == (0, 1)
    assert not Allocation.objects.exists()


@pytest.mark.mutant("no_reaper")
def test_without_the_reaper_it_is_started_for_ever(redis):
    job = running()

    assert look_for_minutes(redis) is None

    assert reread(job).state == "running"
    assert Allocation.objects.filter(job=job).exists()
