"""Removes stale hints from the queues: they would fill the window while jobs wait for a place in it.

A job that waits for an attempt and then does not, never waits for that attempt again. So a hint that is found stale
stays stale, and no lock is needed between the look at the database and the removal.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from itertools import batched
from typing import Final

from redis import Redis

from scheduler.broker.hints import BATCH_SIZE, WINDOW, Key, queue_key, task_name
from scheduler.broker.message_format import MessageRefused, clean_message
from scheduler.catalogue import catalogue
from scheduler.logs import event_logger
from scheduler.models import Job
from scheduler.rules.states import JobState

log = event_logger(__name__)

#: Hints of one queue that are examined in one call, those that are consumed next first. A relay fills no queue further.
EXAMINED: Final = 2 * WINDOW


def remove_stale(client: Redis, listed: Mapping[str, Mapping[bytes, Key]]) -> dict[str, set[Key]]:
    """listed: the messages of each queue (hints.listed). Returns (job, attempt) of the hints that remain in each."""
    examined = {queue: dict(list(items.items())[-EXAMINED:]) for queue, items in listed.items()}
    awaited = _awaited({job_id for items in examined.values() for job_id, _ in items.values()})
    stale = {
        queue: [item for item, key in items.items() if key not in awaited and _is_hint(item, queue)]
        for queue, items in examined.items()
    }
    _remove(client, stale)
    return {queue: {items[item] for item in items.keys() - set(stale[queue])} for queue, items in listed.items()}


def _is_hint(item: bytes, queue: str) -> bool:
    """A malformed message is no stale hint: a worker takes it to the dead letters, for people to see."""
    try:
        clean_message(item, queue, _hint_tasks())
    except MessageRefused:
        return False
    return True


@cache
def _hint_tasks() -> dict[str, None]:
    return dict.fromkeys(map(task_name, catalogue()))


def _awaited(job_ids: set[int]) -> set[Key]:
    """(job, attempt) for which a job waits."""
    found: set[Key] = set()
    for some in batched(sorted(job_ids), BATCH_SIZE):
        # Without a condition on the state: the primary key finds the rows, not an index of the waiting jobs.
        rows = Job.objects.filter(id__in=some).order_by().values_list("id", "attempt", "state")
        found.update((job_id, attempt) for job_id, attempt, state in rows if state == JobState.QUEUED)
    return found


def _remove(client: Redis, stale: Mapping[str, list[bytes]]) -> None:
    """By the exact message: one that a worker has taken meanwhile is not found, and no other is removed."""
    for queue, items in stale.items():
        for some in batched(items, BATCH_SIZE):
            pipe = client.pipeline(transaction=False)
            for item in some:
                pipe.lrem(queue_key(queue), 0, item)  # type: ignore[arg-type]
            pipe.execute()
    if count := sum(map(len, stale.values())):
        log.debug("hints_removed", hints=count, reason="stale")
