"""The beat-driven ticks. Each carries `expires` and is idempotent for its time slot."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from celery import shared_task
from django.db import InterfaceError, OperationalError, close_old_connections
from redis import Redis

from scheduler.broker import hints
from scheduler.logs import event_logger
from scheduler.loops import generator
from scheduler.loops.retention import History
from scheduler.redis_client import connect

log = event_logger(__name__)


@shared_task(name="scheduler.ticks.generate")
def generate() -> None:
    with _patience("generate"):
        hints.send_soon(generator.tick(), _redis())


@shared_task(name="scheduler.ticks.keep_history")
def keep_history() -> None:
    with _patience("keep_history"):
        _history().tick()


#: Ticks that could not work the last time.
_waiting: set[str] = set()


@contextmanager
def _patience(name: str) -> Iterator[None]:
    """A database that is away or full is said once; the next tick does the work."""
    try:
        close_old_connections()
        yield
    except (OperationalError, InterfaceError) as error:
        if name not in _waiting:
            log.warning("tick_waits", tick=name, error=f"{type(error).__name__}: {error}")
        _waiting.add(name)
    else:
        if name in _waiting:
            _waiting.remove(name)
            log.info("tick_goes_on", tick=name)


@cache
def _history() -> History:
    return History()


@cache
def _redis() -> Redis:
    return connect()
