"""The ticks that beat sends. Each has `expires` and is idempotent for its time slot."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from celery import shared_task
from django.db import close_old_connections
from redis import Redis

from scheduler.database_errors import DatabaseFailure
from scheduler.logs import Outage, event_logger
from scheduler.loops import generator
from scheduler.loops.retention import History
from scheduler.redis_client import connect

log = event_logger(__name__)


@shared_task(name="scheduler.ticks.generate")
def generate() -> None:
    with _patience("generator"):
        generator.tick(client=_redis())


@shared_task(name="scheduler.ticks.keep_history")
def keep_history() -> None:
    with _patience("retention"):
        _history().tick()


@contextmanager
def _patience(component: str) -> Iterator[None]:
    """A database that is unavailable or refuses a query ends the tick, and is logged once; the next tick does the
    work."""
    outage = _outage(component)
    try:
        close_old_connections()
        yield
    except DatabaseFailure as error:
        outage.broke(error)
    else:
        outage.recovered()


@cache
def _outage(component: str) -> Outage:
    return Outage(log, component)


@cache
def _history() -> History:
    return History()


@cache
def _redis() -> Redis:
    return connect()
