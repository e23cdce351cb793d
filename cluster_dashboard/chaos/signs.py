"""Signs of life of each part, looked at from outside: what is healthy before a scenario must be so after it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings
from django.db.models.functions import Now
from redis import Redis
from redis.exceptions import RedisError

from cluster_dashboard.chaos import web
from gpu_tasks.faults.requests import redis_now
from scheduler.loops.heartbeats import read_beats
from scheduler.models import Lease

#: A beat comes every 2 s.
BEAT_AGE_SECONDS: Final = 5.0

LOOPS: Final = ("relay", "reaper")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """gpus: whose workers take jobs. others: whose workers beat and do not, or not yet."""

    gpus: tuple[int, ...]
    others: int
    scheduler: bool
    web: bool
    flower: bool

    @property
    def all_take_jobs(self) -> bool:
        return self.scheduler and bool(self.gpus) and not self.others

    def missing(self, before: Signs) -> list[str]:
        """What was there before and is not now."""
        gone = [f"gpu-{gpu}" for gpu in sorted(set(before.gpus) - set(self.gpus))]
        return gone + [
            name for name in ("scheduler", "web", "flower") if getattr(before, name) and not getattr(self, name)
        ]


def look(client: Redis) -> Signs:
    """Raises RedisError or DatabaseError if one of them does not answer."""
    now = redis_now(client)
    beats = {gpu: beat for gpu, beat in read_beats(client).items() if now - beat.at < BEAT_AGE_SECONDS}
    gpus = [gpu for gpu, beat in beats.items() if not beat.note and beat.child_pid is not None]
    return Signs(
        gpus=tuple(sorted(gpus)),
        others=len(beats) - len(gpus),
        scheduler=Lease.objects.filter(name__in=LOOPS, expires_at__gt=Now()).count() == len(LOOPS),
        web=web.answers(settings.ENVIRONMENT.web_port, "/readyz"),
        flower=web.answers(settings.ENVIRONMENT.flower_port, "/"),
    )


class Ticks:
    """Hears the scheduler's Celery events: a tick that it received was sent by a beat."""

    def __init__(self, pubsub: Any) -> None:
        self._pubsub = pubsub

    def heard(self, task: str = "scheduler.ticks.generate") -> int:
        """How many of these ticks were received since the last call."""
        count = 0
        try:
            while (message := self._pubsub.get_message(ignore_subscribe_messages=True)) is not None:
                count += _ticks_in(message.get("data"), task)
        except (RedisError, OSError):
            return count  # a broker that is away is heard again by and by
        return count


@contextmanager
def listening(client: Redis) -> Iterator[Ticks]:
    pubsub: Any = client.pubsub()  # type: ignore[no-untyped-call]
    try:
        pubsub.psubscribe("*celeryev*")
        yield Ticks(pubsub)
    finally:
        pubsub.close()


def _ticks_in(data: object, task: str) -> int:
    """Celery sends events alone or several at once, in kombu's envelope."""
    if not isinstance(data, bytes):
        return 0
    events = json.loads(base64.b64decode(json.loads(data)["body"]))
    return sum(
        event.get("type") == "task-received" and event.get("name") == task
        for event in (events if isinstance(events, list) else [events])
    )
