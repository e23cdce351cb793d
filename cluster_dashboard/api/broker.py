"""The API's door to Redis: what it asks there is a bonus, and must not keep anybody waiting."""

from __future__ import annotations

from functools import cache
from typing import Final

from redis import Redis

from scheduler.redis_client import connect

TIMEOUT_SECONDS: Final = 0.5


@cache
def client() -> Redis:
    """One for this process, made at the first call: its pool hands every thread a connection of its own."""
    return connect(timeout_seconds=TIMEOUT_SECONDS)
