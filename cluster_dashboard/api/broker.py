"""The API's connection to Redis, with a short timeout: no answer waits long for what Redis knows."""

from __future__ import annotations

from functools import cache
from typing import Final

from redis import Redis

from scheduler.redis_client import connect

TIMEOUT_SECONDS: Final = 0.5


@cache
def client() -> Redis:
    """One client for this process, made at the first call; its pool gives each thread its own connection."""
    return connect(timeout_seconds=TIMEOUT_SECONDS)
