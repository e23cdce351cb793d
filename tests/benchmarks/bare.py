"""Bare Celery, the yardstick: a no-op task on the same broker, with the same lean flags, and no job protocol.

The task notes when it started; nothing else.
"""

from __future__ import annotations

import os
import time

from celery import Celery
from celery.signals import worker_process_init
from redis import Redis

STARTS_KEY = "bare:starts"

app = Celery("bare", broker=os.environ["BARE_BROKER"])
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    worker_concurrency=1,
    task_default_queue="bare",
    broker_connection_retry_on_startup=True,
    broker_transport_options={"global_keyprefix": "bare:", "priority_steps": [0]},
)

_redis: Redis | None = None


@worker_process_init.connect
def _connect(**_: object) -> None:
    global _redis  # noqa: PLW0603 (one connection for each child)
    _redis = Redis.from_url(os.environ["BARE_REDIS"])


@app.task(name="noop")
def noop(number: int) -> None:
    assert _redis is not None
    _redis.hset(STARTS_KEY, str(number), repr(time.time()))
