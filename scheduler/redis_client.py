"""Connections to Redis, with the timeouts that keep a frozen server from freezing us."""

from __future__ import annotations

from typing import Final

from django.conf import settings
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

#: Every key of ours in Redis starts with this; several clusters may share one server under other prefixes.
KEY_PREFIX: Final = "gpucluster:"


def connect(*, timeout_seconds: float = 2.0) -> Redis:
    """A client of its own for each thread; no retries: loops come back by themselves."""
    return Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        health_check_interval=5,
        retry=Retry(NoBackoff(), 0),
    )
