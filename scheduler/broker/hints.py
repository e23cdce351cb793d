"""Hints: "look at job J, attempt N". Sent best effort; a lost hint is found and sent again by the relay."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import batched
from typing import Any, Final, Literal

from redis import Redis
from redis.exceptions import RedisError

from scheduler.broker.message_format import task_message
from scheduler.database_errors import DatabaseFailure
from scheduler.logs import event_logger
from scheduler.models import Gpu
from scheduler.redis_client import KEY_PREFIX, connect
from scheduler.rules.queues import PLAIN_QUEUES, Tiers, queue_name
from scheduler.rules.states import PRIORITY_ORDER, Priority

log = event_logger(__name__)

#: Maximum of hints of one priority in Redis, for the relay and the senders: Redis stays small under any backlog.
WINDOW: Final = 500

#: Commands in one pipeline to the broker.
BATCH_SIZE: Final = 500

_TASK_ID: Final = re.compile(rb'"id": ?"(\d{1,18})-(\d{1,9})"')


#: (job, attempt).
type Key = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    job_id: int
    attempt: int
    type: str
    #: A name made by scheduler.rules.queues.
    queue: str

    @property
    def key(self) -> Key:
        return self.job_id, self.attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmittedJob:
    """The fields of its first hint."""

    id: int
    type: str
    priority: Priority
    gpu_memory_mib: int = 0


def task_name(job_type: str) -> str:
    """One Celery task for each job type, so that Flower shows them by type."""
    return f"gpu_tasks.{job_type}"


def queue_key(queue: str) -> str:
    """The list in Redis that holds the queue's messages."""
    return f"{KEY_PREFIX}{queue}"


def tiers_key() -> str:
    """A set: the tiers (GiB) that have queues, for readers that count the hints in Redis."""
    return f"{KEY_PREFIX}tiers"


def window(tiers: Tiers) -> int:
    """Maximum of hints in each queue of one priority: equal shares, so that no tier's backlog idles another's GPUs."""
    return WINDOW // (1 + len(tiers.sizes_gib))


def send(hints: Sequence[Hint], client: Redis | None = None) -> dict[str, int]:
    """Publishes the hints in order; returns the new lengths of their queues. Raises a RedisError if the broker is
    unavailable or full."""
    # The newest message is at the left end, the next one to be consumed at the right end.
    return _push("lpush", hints, client)


def send_in_front(hints: Sequence[Hint], client: Redis | None = None) -> None:
    """Publishes the hints so that they are consumed next, in their order: a requeued job does not wait behind a whole
    window again."""
    _push("rpush", hints[::-1], client)


def _push(command: Literal["lpush", "rpush"], hints: Sequence[Hint], client: Redis | None) -> dict[str, int]:
    """Directly into the list: one hint takes 65 us; by Celery's publishing it takes 250 us."""
    found: dict[str, int] = {}
    for some in batched(hints, BATCH_SIZE):
        pipe = (client or _own_client()).pipeline(transaction=False)
        for hint in some:
            getattr(pipe, command)(queue_key(hint.queue), _message(hint))
        found |= zip((hint.queue for hint in some), map(int, pipe.execute()), strict=True)
    return found


def _message(hint: Hint) -> bytes:
    args, task_id = [hint.job_id, hint.attempt], f"{hint.job_id}-{hint.attempt}"
    return task_message(task_name(hint.type), task_id, str(hint.queue), args=args, expires=None)


@cache
def _own_client() -> Redis:
    return connect()


def waiting(client: Redis, queues: Sequence[str] = PLAIN_QUEUES) -> dict[str, set[Key]]:
    """(job, attempt) of every hint that is in one of the queues now."""
    return {queue: set(items.values()) for queue, items in listed(client, queues).items()}


def listed(client: Redis, queues: Sequence[str]) -> dict[str, dict[bytes, Key]]:
    """The messages that are in each of the queues now, the next one to be consumed last, with their (job, attempt)."""
    pipe = client.pipeline(transaction=False)
    for queue in queues:
        pipe.lrange(queue_key(queue), 0, -1)
    return {
        queue: {item: (int(found[1]), int(found[2])) for item in items if (found := _TASK_ID.search(item))}
        for queue, items in zip(queues, pipe.execute(), strict=True)
    }


def lengths(client: Redis) -> dict[Priority, int]:
    """The number of hints of each priority in Redis, over all tiers."""
    tiers = [None, *map(int, client.smembers(tiers_key()))]
    found = _lengths(client, [queue_name(priority, tier) for priority in PRIORITY_ORDER for tier in tiers])
    return {priority: sum(found[queue_name(priority, tier)] for tier in tiers) for priority in PRIORITY_ORDER}


def _lengths(client: Redis, queues: Sequence[str]) -> dict[str, int]:
    pipe = client.pipeline(transaction=False)
    for queue in queues:
        pipe.llen(queue_key(queue))
    return dict(zip(queues, map(int, pipe.execute()), strict=True))


def keep_tiers(client: Redis, tiers: Tiers) -> None:
    """Writes the set of tiers. The queues of a tier that no longer exists are deleted: no worker reads them, and the
    relay sends their jobs' hints to the right queues."""
    noted, wanted = set(map(int, client.smembers(tiers_key()))), set(tiers.sizes_gib)
    if gone := noted - wanted:
        client.delete(*(queue_key(queue_name(priority, tier)) for priority in PRIORITY_ORDER for tier in gone))
        client.srem(tiers_key(), *gone)
    if new := wanted - noted:
        client.sadd(tiers_key(), *new)


def send_soon(jobs: Sequence[SubmittedJob], client: Redis) -> None:
    """After commit: hints for new jobs, in a thread, as far as the windows have room.

    Never waits for the broker and never fails: the relay sends the hints that are not sent here.
    """
    if not jobs or _sender().pending >= _Sender.PENDING_MAXIMUM:
        return
    try:
        tiers = Gpu.objects.tiers()
    except DatabaseFailure as error:
        log.info("hints_left_to_relay", hints=len(jobs), error=error)
        return
    _sender().submit(_first_hints(jobs[: WINDOW * len(PRIORITY_ORDER)], tiers), client, window(tiers))


def _first_hints(jobs: Iterable[SubmittedJob], tiers: Tiers) -> list[Hint]:
    queued = [(job, tiers.queue_of(job.priority, job.gpu_memory_mib)) for job in jobs]
    return [Hint(job_id=job.id, attempt=1, type=job.type, queue=queue) for job, queue in queued if queue is not None]


class _Sender:
    """One thread sends; at most PENDING_MAXIMUM batches wait for it."""

    PENDING_MAXIMUM: Final = 4

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hints")
        self.pending = 0
        #: As the broker reported them with the last hints that were sent.
        self._lengths: dict[str, int] = {}

    def submit(self, hints: list[Hint], client: Redis, window: int) -> None:
        self.pending += 1
        self._pool.submit(self._send, hints, client, window).add_done_callback(self._done)

    def _done(self, _: Any) -> None:
        self.pending -= 1

    def _send(self, hints: list[Hint], client: Redis, window: int = WINDOW) -> None:
        try:
            count = Counter(hint.queue for hint in hints)
            if any(self._lengths.get(queue, window) + n > window for queue, n in count.items()):
                # Workers may have consumed many since. Other senders' hints are counted by the next report.
                self._lengths |= _lengths(client, list(count))
            room = {queue: max(0, window - self._lengths[queue]) for queue in count}
            fitting = []
            for hint in hints:
                if room[hint.queue] > 0:
                    room[hint.queue] -= 1
                    fitting.append(hint)
            if fitting:
                self._lengths |= send(fitting, client)
        except (RedisError, OSError) as error:
            log.info("hints_left_to_relay", hints=len(hints), error=error)


@cache
def _sender() -> _Sender:
    return _Sender()
