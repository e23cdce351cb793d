"""The health of each part, seen from outside: what is healthy before a scenario must be healthy after it."""

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

#: Heartbeats are sent every 2 s.
BEAT_AGE_SECONDS: Final = 5.0

LOOPS: Final = ("relay", "reaper")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """gpus: those whose workers start jobs. others: the number of workers that send heartbeats and start none (yet)."""

    gpus: tuple[int, ...]
    others: int
    scheduler: bool
    web: bool
    flower: bool

    @property
    def all_start_jobs(self) -> bool:
        return self.scheduler and bool(self.gpus) and not self.others

    def missing(self, before: Signs) -> list[str]:
        """The parts that were healthy before and are not now."""
        gone = [f"gpu-{gpu}" for gpu in sorted(set(before.gpus) - set(self.gpus))]
        return gone + [
            name for name in ("scheduler", "web", "flower") if getattr(before, name) and not getattr(self, name)
        ]


def look(client: Redis) -> Signs:
    """Raises RedisError or DatabaseFailure if the broker or the database is unavailable."""
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
    """Listens to the scheduler's Celery events: each tick that it received was sent by a beat."""

    def __init__(self, pubsub: Any) -> None:
        self._pubsub = pubsub

    def heard(self, task: str = "scheduler.ticks.generate") -> int:
        """The number of these ticks that the scheduler received since the last call."""
        count = 0
        try:
            while (message := self._pubsub.get_message(ignore_subscribe_messages=True)) is not None:
                count += _ticks_in(message.get("data"), task)
        except (RedisError, OSError):
            return count  # the broker is unavailable; redis-py connects again at a later call
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
    """Celery sends one event or several in one message, in kombu's envelope."""
    if not isinstance(data, bytes):
        return 0
    events = json.loads(base64.b64decode(json.loads(data)["body"]))
    return sum(
        event.get("type") == "task-received" and event.get("name") == task
        for event in (events if isinstance(events, list) else [events])
    )
