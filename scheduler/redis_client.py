"""Connections to Redis, with the timeouts that keep a frozen server from freezing us."""

from __future__ import annotations

from django.conf import settings
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry


def connect(*, timeout_seconds: float = 2.0) -> Redis:
    """A client of its own for each thread; no retries: loops come back by themselves."""
    return Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        health_check_interval=5,
        retry=Retry(NoBackoff(), 0),
    )
