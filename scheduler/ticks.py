"""The beat-driven ticks. Each carries `expires` and is idempotent for its time slot."""

from __future__ import annotations

from functools import cache

from celery import shared_task
from redis import Redis

from scheduler import generator, hints
from scheduler.history import History
from scheduler.redis_client import connect


@shared_task(name="scheduler.ticks.generate")
def generate() -> None:
    hints.send_soon(generator.tick(), _redis())


@shared_task(name="scheduler.ticks.keep_history")
def keep_history() -> None:
    _history().tick()


@cache
def _history() -> History:
    return History()


@cache
def _redis() -> Redis:
    return connect()
