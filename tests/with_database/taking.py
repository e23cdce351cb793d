"""What a GPU does with hints, without its processes: takes the next one in strict order, claims, ends."""

from __future__ import annotations

import re

from redis import Redis

from scheduler.broker.hints import queue_key
from scheduler.jobs import lifecycle
from scheduler.jobs.lifecycle import Claimed
from scheduler.rules.placement import ClaimRefusal
from scheduler.rules.queues import PLAIN_QUEUES
from scheduler.rules.states import JobState

_ID = re.compile(rb'"id": ?"(\d+)-(\d+)"')


def take(redis: Redis) -> tuple[int, int] | None:
    """(job, attempt) of the hint that a free GPU gets: it is in no queue any more."""
    for queue in PLAIN_QUEUES:
        if (item := redis.rpop(queue_key(queue))) is not None:
            found = _ID.search(item)
            assert found is not None
            return int(found[1]), int(found[2])
    return None


def run(hint: tuple[int, int], *, gpu: int = 0) -> Claimed | ClaimRefusal:
    """The job of a hint from claim to end, if it is granted."""
    claimed = lifecycle.claim(*hint, gpu=gpu, boot=f"boot-{gpu}")
    if isinstance(claimed, Claimed):
        assert lifecycle.end(*hint, JobState.SUCCEEDED)
    return claimed
