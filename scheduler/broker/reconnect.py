"""How soon a process that lost the broker finds it again.

Celery tries again after 2 s, then after 4, 6, up to 30, and has no setting for it: after an outage of a minute
each worker stands idle for up to 16 s more.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any, Final

from celery.app.amqp import AMQP
from kombu import Connection

#: Between two tries; each connection draws its own, so that a host's workers do not all come in the same instant.
SHORTEST_SECONDS: Final = 0.5
LONGEST_SECONDS: Final = 1.5
#: Every try is not worth a line in the log.
SAY_EVERY_SECONDS: Final = 30.0

#: Given the error and the seconds until the next try.
type Say = Callable[[Exception, float], None]


def draw_seconds() -> float:
    return random.uniform(SHORTEST_SECONDS, LONGEST_SECONDS)


class PromptConnection(Connection):
    def ensure_connection(self, errback: Say | None = None, *args: Any, **options: Any) -> Any:
        """As kombu's, at an even pace. `callback` is called at each try, `errback` only now and then."""
        seconds = draw_seconds()
        pace = {"interval_start": seconds, "interval_step": 0, "interval_max": seconds}
        return super().ensure_connection(_seldom(errback), *args, **{**pace, **options})


class PromptAMQP(AMQP):
    """Has Celery make its connections of that kind."""

    Connection = PromptConnection


def _seldom(say: Say | None) -> Say:
    said_at = float("-inf")

    def seldom(error: Exception, seconds: float) -> None:
        nonlocal said_at
        if say is not None and time.monotonic() - said_at >= SAY_EVERY_SECONDS:
            said_at = time.monotonic()
            say(error, seconds)

    return seldom
