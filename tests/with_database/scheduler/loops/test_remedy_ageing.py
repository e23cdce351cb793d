"""F9: under load that never ends, a job of low priority starts all the same."""

from __future__ import annotations

import pytest

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
