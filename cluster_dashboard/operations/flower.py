"""Flower's receiver of events, which reconnects within about a second once the broker has recovered."""

from __future__ import annotations

import time

from celery.events import EventReceiver
from flower.events import Events
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from scheduler.broker.reconnect import draw_seconds
from scheduler.logs import event_logger

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
