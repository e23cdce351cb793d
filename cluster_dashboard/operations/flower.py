"""Flower's receiver of events, which reconnects within about a second once the broker has recovered, its reader of
queues, and what it shows to whom."""

from __future__ import annotations

import time
from collections.abc import Iterable

from celery.events import EventReceiver
from django.conf import settings
from flower.events import Events
from flower.views.monitor import Metrics
from kombu.exceptions import KombuError
from redis.asyncio import Redis
from redis.exceptions import RedisError
from tornado.web import authenticated

from scheduler.broker.hints import queue_key
from scheduler.broker.reconnect import draw_seconds
from scheduler.logs import event_logger
from scheduler.redis_client import SHORT_TIMEOUT_SECONDS

log = event_logger(__name__)


class PromptEvents(Events):
    """Flower's own receiver doubles its wait after each attempt without a limit, up to the length of the outage."""

    def run(self) -> None:
        failing = False
        while True:
            try:
                with self.capp.connection() as connection:
                    receiver = EventReceiver(connection, handlers={"*": self.on_event}, app=self.capp)
                    if failing:
                        log.info("broker_recovered", component="flower")
                    failing = False
                    receiver.capture(limit=None, timeout=None, wakeup=True)
            except (KombuError, RedisError, OSError) as error:
                if not failing:
                    log.warning("broker_unreachable", component="flower", error=f"{type(error).__name__}: {error}")
            except Exception:
                # One message that cannot be read must not end it: no task would be shown from then on.
                log.exception("flower_failed")
            failing = True
            time.sleep(draw_seconds())


class OwnBroker:
    """Flower's own reader reads the URL in a third way: of a unix socket it misses the user and the database."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    async def queues(self, names: Iterable[str]) -> list[dict[str, str | int]]:
        """Name and length of each."""
        found = list(names)
        async with Redis.from_url(
            settings.REDIS_URL, socket_timeout=SHORT_TIMEOUT_SECONDS, socket_connect_timeout=SHORT_TIMEOUT_SECONDS
        ) as client:
            pipeline = client.pipeline(transaction=False)
            for name in found:
                pipeline.llen(queue_key(name))
            lengths = await pipeline.execute()
        return [{"name": name, "messages": int(length)} for name, length in zip(found, lengths, strict=True)]


def close_metrics() -> None:
    """Asks for the password for Flower's /metrics too, which it shows to everybody by itself."""
    Metrics.get = authenticated(Metrics.get)
