"""F9: under load that never ends, a job of low priority starts all the same."""

from __future__ import annotations

import pytest
from redis import Redis

from scheduler.broker.hints import WINDOW
from scheduler.loops.relay import Relay
from scheduler.models import Job
from scheduler.rules.waiting import AGEING_SECONDS
from tests.build import let_wait, queued, reread, submit
from tests.with_database.taking import run, take

pytestmark = pytest.mark.usefixtures("gpus")

ROUNDS, STARTS_A_ROUND = 8, 10


def starts_until_it_ran(redis, low: Job) -> int | None:
    """Rounds of the relay, in each of which ten more jobs of priority high come than there were, and ten start."""
    relay, started = Relay(redis), 0
    submit(STARTS_A_ROUND, priority="high")
    for now in range(ROUNDS):
        submit(STARTS_A_ROUND, priority="high")
        let_wait(AGEING_SECONDS)
        relay.tick(float(now))
        for _ in range(STARTS_A_ROUND):
            hint = take(redis)
            assert hint is not None
            run(hint)
            started += 1
            if hint[0] == low.id:
                return started
    return None


def test_a_low_job_starts_though_higher_ones_never_end(redis):
    low = queued(priority="low")

    after = starts_until_it_ran(redis, low)

    print(f"the low job was start number {after}")
    assert after is not None
    assert reread(low).state == "succeeded"


@pytest.mark.mutant("no_ageing")
def test_without_ageing_it_never_starts(redis):
    low = queued(priority="low")

    assert starts_until_it_ran(redis, low) is None

    assert reread(low).state == "queued"


# --- behind a full window

PERIOD_SECONDS, TICK_SECONDS, STARTS_A_TICK = 5, 0.5, 2


@pytest.fixture
def short_period(settings) -> None:
    settings.AGEING_SECONDS = PERIOD_SECONDS


def starts_behind_a_full_window(redis: Redis, seconds: float) -> list[Job]:
    """20 jobs of priority low, then more of priority high than the window holds; four start each second. The jobs, in
    the order of their starts."""
    submit(20, priority="low")
    submit(WINDOW + 200, priority="high")
    let_wait(1)
    relay, found, now = Relay(redis), [], 0.0
    while now < seconds:
        relay.tick(now)
        for _ in range(STARTS_A_TICK):
            hint = take(redis)
            assert hint is not None
            run(hint)
            found.append(Job.objects.get(id=hint[0]))
        let_wait(TICK_SECONDS)
        now += TICK_SECONDS
    return found


@pytest.mark.usefixtures("short_period")
def test_low_jobs_start_behind_a_full_window(redis):
    """Two periods after they came, one in ten, and evenly."""
    starts = starts_behind_a_full_window(redis, 40)

    low = [i for i, job in enumerate(starts) if job.priority == "low"]
    waited = [(starts[i].started_at - starts[i].queued_at).total_seconds() for i in low]
    print(f"low jobs started after {waited} s, as starts number {low}")
    assert 2 * PERIOD_SECONDS <= waited[0] <= 2 * PERIOD_SECONDS + 2
    assert len(low) >= (len(starts) - low[0]) // 10 - 1
    assert all(sum(i <= each < i + 20 for each in low) <= 3 for i in low)


@pytest.mark.usefixtures("short_period")
@pytest.mark.mutant("no_ageing")
def test_without_ageing_none_starts_behind_a_full_window(redis):
    assert {job.priority for job in starts_behind_a_full_window(redis, 40)} == {"high"}
