"""Hints: "look at job J, attempt N". Sent best effort, lost without harm, read back by the relay."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import RedisError

from scheduler.celery import JOB_QUEUES, app
from scheduler.lifecycle import SubmittedJob
from scheduler.logs import event_logger
from scheduler.redis_client import KEY_PREFIX
from scheduler.states import Priority

log = event_logger(__name__)

#: Hints that the relay and the senders keep in one queue at most: Redis stays small under any backlog.
WINDOW: Final = 500

#: Commands in one pipeline to the broker.
BATCH_SIZE: Final = 500

_TASK_ID: Final = re.compile(rb'"id": ?"(\d+)-(\d+)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    job_id: int
    attempt: int
    type: str
    queue: Priority

    @property
    def key(self) -> tuple[int, int]:
        return self.job_id, self.attempt


def task_name(job_type: str) -> str:
    """One Celery task for each job type, so that Flower shows them by type."""
    return f"gpu_tasks.{job_type}"


def queue_key(queue: str) -> str:
    """The list in Redis that holds the queue's messages."""
    return f"{KEY_PREFIX}{queue}"


def send(hints: Sequence[Hint]) -> None:
    """Publishes the hints in order. Raises kombu's OperationalError or a RedisError if the broker is away."""
    with app.amqp.producer_pool.acquire(block=True, timeout=5) as producer, _batch(producer):
        for hint in hints:
            app.send_task(
                task_name(hint.type),
                args=[hint.job_id, hint.attempt],
                task_id=f"{hint.job_id}-{hint.attempt}",
                queue=hint.queue.value,
                producer=producer,
                retry=False,
                ignore_result=True,
            )


def send_in_front(hints: Sequence[Hint], client: Redis) -> None:
    """Publishes the hints so that they are taken next, in their order: a job that was running already does not
    queue up behind a whole window again."""
    send(hints)
    pipe = client.pipeline(transaction=False)
    for hint in reversed(hints):
        # The newest message lies at the left end, the next one to be taken at the right end. A message that
        # somebody else pushed meanwhile may be moved in its place: that changes an order, nothing else.
        pipe.lmove(queue_key(hint.queue), queue_key(hint.queue), "LEFT", "RIGHT")
    pipe.execute()


def _batch(producer: Any) -> AbstractContextManager[Any]:
    """kombu's pipelined publishing, which its type stubs do not know yet."""
    batch: AbstractContextManager[Any] = producer.batch(BATCH_SIZE)
    return batch


def waiting(client: Redis) -> dict[Priority, set[tuple[int, int]]]:
    """(job, attempt) of every hint that lies in a queue now."""
    pipe = client.pipeline(transaction=False)
    for queue in JOB_QUEUES:
        pipe.lrange(queue_key(queue), 0, -1)
    return {
        Priority(queue): {(int(found[1]), int(found[2])) for item in items if (found := _TASK_ID.search(item))}
        for queue, items in zip(JOB_QUEUES, pipe.execute(), strict=True)
    }


def lengths(client: Redis) -> dict[Priority, int]:
    pipe = client.pipeline(transaction=False)
    for queue in JOB_QUEUES:
        pipe.llen(queue_key(queue))
    return {Priority(queue): int(length) for queue, length in zip(JOB_QUEUES, pipe.execute(), strict=True)}


def send_soon(jobs: Iterable[SubmittedJob], client: Redis) -> None:
    """After commit: hints for new jobs, in a thread, as far as the windows have room.

    Never waits and never fails: what is not sent here the relay finds.
    """
    hints = [Hint(job_id=job.id, attempt=1, type=job.type, queue=job.priority) for job in jobs]
    if _sender().pending < _Sender.PENDING_MAXIMUM:
        _sender().submit(hints[: WINDOW * len(JOB_QUEUES)], client)


class _Sender:
    """One thread; a few batches may wait for it."""

    PENDING_MAXIMUM: Final = 4

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hints")
        self.pending = 0

    def submit(self, hints: list[Hint], client: Redis) -> None:
        self.pending += 1
        self._pool.submit(self._send, hints, client).add_done_callback(self._done)

    def _done(self, _: Any) -> None:
        self.pending -= 1

    def _send(self, hints: list[Hint], client: Redis) -> None:
        try:
            room = {queue: max(0, WINDOW - length) for queue, length in lengths(client).items()}
            fitting = []
            for hint in hints:
                if room[hint.queue] > 0:
                    room[hint.queue] -= 1
                    fitting.append(hint)
            if fitting:
                send(fitting)
        except (OperationalError, RedisError, OSError) as error:
            log.info("hints_left_to_relay", hints=len(hints), error=error)


@cache
def _sender() -> _Sender:
    return _Sender()
