"""Connections to Redis, with timeouts: a frozen server does not freeze its clients."""

from __future__ import annotations

from typing import Final

from django.conf import settings
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

#: Every Redis key and channel of this cluster starts with this; clusters with other prefixes may share the server.
KEY_PREFIX: Final[str] = settings.REDIS_PREFIX

#: For a request that a person, a health check or a scrape waits for.
SHORT_TIMEOUT_SECONDS: Final = 1.0


def connect(*, timeout_seconds: float = 2.0) -> Redis:
    """A new client; each thread needs its own. No retries: the loops call again at their next tick."""
    return Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        health_check_interval=5,
        retry=Retry(NoBackoff(), 0),
    )
