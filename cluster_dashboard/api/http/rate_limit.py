"""Limits the changes of controls and GPUs by each user or token: a token bucket for each, kept in this process.

django-ninja's throttle is not used: it has a window, not a bucket. With a window of a minute all of a minute's
changes could come at once; with a window as short as the burst none is allowed after a burst until it is over, where
a bucket refills steadily. It is also not safe in threads, and needs a cache shared by them.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from django.conf import settings

from cluster_dashboard.api.http.problems import Problem

#: Changes that are allowed at once, before the rate limits them.
BURST: Final = 30
#: Actors kept; above this number those whose bucket is full again are removed.
ACTORS_MAXIMUM: Final = 1000


@dataclass(slots=True)
class Limiter:
    """`clock`: monotonic seconds. Safe to use from several threads."""

    per_minute: float
    burst: int = BURST
    clock: Callable[[], float] = time.monotonic
    #: actor -> (tokens left, when that was)
    _buckets: dict[str, tuple[float, float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wait_seconds(self, actor: str) -> float:
        """0 if a change is allowed now, which is then counted; else the seconds until the next one is allowed."""
        with self._lock:
            now = self.clock()
            left = self._left(actor, now)
            if left < 1:
                return (1 - left) * 60 / self.per_minute
            self._buckets[actor] = (left - 1, now)
            self._forget(now)
            return 0.0

    def give_back(self, actor: str) -> None:
        """What was counted last does not count after all."""
        with self._lock:
            now = self.clock()
            self._buckets[actor] = (min(self.burst, self._left(actor, now) + 1), now)

    def _left(self, actor: str, now: float) -> float:
        left, at = self._buckets.get(actor, (float(self.burst), now))
        return min(self.burst, left + (now - at) * self.per_minute / 60)

    def _forget(self, now: float) -> None:
        if len(self._buckets) > ACTORS_MAXIMUM:
            full = [actor for actor in self._buckets if self._left(actor, now) >= self.burst]
            for actor in full:
                del self._buckets[actor]


@cache
def _limiter() -> Limiter:
    return Limiter(per_minute=settings.ENVIRONMENT.controls_per_minute)


def count_control(actor: str) -> None:
    """Counts a change by the actor. Raises Problem 429 with Retry-After if there were too many."""
    wait = _limiter().wait_seconds(actor)
    if wait > 0:
        per_minute = settings.ENVIRONMENT.controls_per_minute
        detail = f"Too many changes by {actor}: the limit is {per_minute:g} a minute (CONTROLS_PER_MINUTE)."
        raise Problem(429, detail, retry_after=math.ceil(wait))
