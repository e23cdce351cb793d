"""Flower's events, sent together a few times a second.

Celery by itself sends them after each step of each job. Under load that takes half of the time of a worker's main
process, and adds a round trip to the broker between the hint and the start of its job.
"""

from __future__ import annotations

import time
from typing import Any, Final

#: The longest delay with which Flower shows a step of a job.
FLUSH_SECONDS: Final = 0.5


class LateFlush:
    """Replaces a Celery consumer's `on_send_event_buffered`; always called in the hub's thread."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self._due_at = 0.0

    def __call__(self) -> None:
        now = time.monotonic()
        # A reset of the hub drops its timers: one that is overdue is set again.
        if now > self._due_at + FLUSH_SECONDS:
            self._due_at = now + FLUSH_SECONDS
            self._consumer.hub.call_later(FLUSH_SECONDS, self._flush)

    def _flush(self) -> None:
        self._due_at = 0.0
        if self._consumer.event_dispatcher is not None:
            self._consumer.event_dispatcher.flush()
