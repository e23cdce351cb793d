"""Celery without the job protocol, the yardsticks: a no-op task on the same broker, with the same lean flags.

`bare` keeps nothing. `stored` keeps each task's start and result by django-celery-results, in the same database.
The task notes when it started; nothing else.
"""

from __future__ import annotations

import os
import time
from typing import Any

from celery import Celery
from celery.signals import worker_process_init
from redis import Redis

BARE, STORED = "bare", "stored"


def starts_key(name: str) -> str:
    return f"{name}:starts"


def make_app(name: str, **settings: Any) -> Celery:
    found = Celery(name, broker=os.environ["BARE_BROKER"])
    found.conf.update(
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        worker_concurrency=1,
        task_default_queue=name,
        broker_connection_retry_on_startup=True,
        broker_transport_options={"global_keyprefix": f"{name}:", "priority_steps": [0]},
        **settings,
    )
    return found


_redis: Redis | None = None


@worker_process_init.connect
def _connect(**_: object) -> None:
    global _redis  # noqa: PLW0603 (one connection for each child)
    _redis = Redis.from_url(os.environ["BARE_REDIS"])


def add_noop(to: Celery, name: str) -> Any:
    @to.task(name="noop", ignore_result=name == BARE)
    def noop(number: int) -> None:
        assert _redis is not None
        _redis.hset(starts_key(name), str(number), repr(time.time()))

    return noop


#: A worker's, which says by this variable what it is; the benchmark itself only sends.
if (_name := os.environ.get("YARDSTICK")) is not None:
    _keeps = {"result_backend": "django-db", "task_track_started": True} if _name == STORED else {}
    app = make_app(_name, CELERY_DB_REUSE_MAX=10**9, **_keeps)
    add_noop(app, _name)
