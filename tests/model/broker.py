"""The queues as lists in a real Redis: what lies there, taken, put back, repeated and lost, message by message."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from kombu.exceptions import KombuError
from redis import Redis
from redis.exceptions import RedisError

from scheduler.broker.hints import queue_key
from tests.model.ledger import MEMORY_MIB, Key, promise

#: In the order in which a worker of a large GPU reads them; one of a small GPU leaves out those of 80 GiB.
QUEUES: Final = ("critical.80g", "critical", "high.80g", "high", "normal.80g", "normal", "low.80g", "low")


ROOM_BYTES: Final = 128 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Message:
    queue: str
    body: bytes

    @property
    def key(self) -> Key:
        """(job, attempt), from the task's id."""
        job, attempt = json.loads(self.body)["headers"]["id"].split("-")
        return int(job), int(attempt)


def reads(gpu: int, message: Message) -> bool:
    is_large = MEMORY_MIB[gpu] > min(MEMORY_MIB.values())
    return is_large or "." not in message.queue


@dataclass(slots=True)
class Broker:
    redis: Redis
    #: It answers reads and refuses what would need memory.
    full: bool = False
    #: Every hint that was ever seen in a queue: what a broker that repeats may deliver again.
    seen: list[Message] = field(default_factory=list)

    def lying(self) -> list[Message]:
        """In the order in which a worker would take them. Remembers what is new."""
        pipe = self.redis.pipeline(transaction=False)
        for queue in QUEUES:
            pipe.lrange(queue_key(queue), 0, -1)
        found = [
            Message(queue, body)
            for queue, bodies in zip(QUEUES, pipe.execute(), strict=True)
            # The next one to be taken is at the right end.
            for body in reversed(bodies)
        ]
        known = set(self.seen)
        self.seen += [message for message in dict.fromkeys(found) if message not in known]
        return found

    def readable(self, gpu: int) -> list[Message]:
        """What the worker of this GPU would take, in its order."""
        return [message for message in self.lying() if reads(gpu, message)]

    def take(self, message: Message) -> None:
        self.redis.lrem(queue_key(message.queue), -1, message.body)

    def put(self, message: Message, *, in_front: bool) -> None:
        push = self.redis.rpush if in_front else self.redis.lpush
        with self.refusing():
            push(queue_key(message.queue), message.body)

    def empty(self) -> None:
        self.redis.flushdb()

    def fill(self, *, full: bool) -> None:
        self.redis.config_set("maxmemory", 1 if full else ROOM_BYTES)
        self.full = full

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Around what a full broker refuses: it is lost."""
        try:
            yield
        except (RedisError, KombuError) as error:
            promise("the broker fails only when it is full", self.full, f"{type(error).__name__}: {error}")


@dataclass(slots=True)
class Interrupted:
    """The reaper's own connection: at the moment when it reads the beats, something else happens in the cluster."""

    redis: Redis
    before: Callable[[], None] | None = None
    after: Callable[[], None] | None = None
    #: What the reaper read last; None: it could not.
    read: dict[int, dict[str, Any]] | None = None

    def hgetall(self, key: str) -> Any:
        before, after, self.before, self.after = self.before, self.after, None, None
        if before is not None:
            before()
        found = self.redis.hgetall(key)
        self.read = {int(gpu): json.loads(beat) for gpu, beat in found.items()}
        if after is not None:
            after()
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self.redis, name)
