"""The pace at which a process reconnects to the broker.

Celery tries after 2 s, then after 4, 6, up to 30, and has no setting for this: after an outage of a minute each worker
would be idle for up to 16 s more.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any, Final

from celery.app.amqp import AMQP
from kombu import Connection

#: Between two connection attempts; each connection draws its own, so that workers do not all connect at once.
SHORTEST_SECONDS: Final = 0.5
LONGEST_SECONDS: Final = 1.5
#: At most one attempt in this time is logged.
LOG_EVERY_SECONDS: Final = 30.0

#: Called with the error and the seconds until the next attempt.
type Errback = Callable[[Exception, float], None]


def draw_seconds() -> float:
    return random.uniform(SHORTEST_SECONDS, LONGEST_SECONDS)


class PromptConnection(Connection):
    def ensure_connection(self, errback: Errback | None = None, *args: Any, **options: Any) -> Any:
        """As kombu's, at an even pace. `errback` is called at most once in LOG_EVERY_SECONDS."""
        seconds = draw_seconds()
        pace = {"interval_start": seconds, "interval_step": 0, "interval_max": seconds}
        return super().ensure_connection(_seldom(errback), *args, **{**pace, **options})


class PromptAMQP(AMQP):
    """Makes Celery use PromptConnection."""

    Connection = PromptConnection


def _seldom(errback: Errback | None) -> Errback:
    called_at = float("-inf")

    def seldom(error: Exception, seconds: float) -> None:
        nonlocal called_at
        if errback is not None and time.monotonic() - called_at >= LOG_EVERY_SECONDS:
            called_at = time.monotonic()
            errback(error, seconds)

    return seldom
