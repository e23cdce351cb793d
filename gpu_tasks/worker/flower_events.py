"""Flower's events, sent together a few times a second.

Celery sends them after each step of each job: under load half of the time of a worker's main process, and a
round trip to the broker between taking a job and starting it.
"""

from __future__ import annotations

import time
from typing import Any, Final

#: Flower shows a job's step at most so much later.
FLUSH_SECONDS: Final = 0.5


class LateFlush:
    """Takes the place of a Celery consumer's `on_send_event_buffered`; always called on the hub's thread."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self._due_at = 0.0

    def __call__(self) -> None:
        now = time.monotonic()
        # A timer that a reset of the hub dropped is missed by then, and set again.
        if now > self._due_at + FLUSH_SECONDS:
            self._due_at = now + FLUSH_SECONDS
            self._consumer.hub.call_later(FLUSH_SECONDS, self._flush)

    def _flush(self) -> None:
        self._due_at = 0.0
        if self._consumer.event_dispatcher is not None:
            self._consumer.event_dispatcher.flush()
