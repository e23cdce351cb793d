"""A worker that no longer hears its queues starts itself anew.

A consumer can go deaf without an error: a half-open connection, a subscription that a reconnect forgot. Its worker
beats on, and nobody else can tell it from an idle one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gpu_tasks.worker.heartbeat import Standing
from gpu_tasks.worker.held import Held
from scheduler.logs import event_logger

log = event_logger(__name__)

PERIOD_SECONDS: Final = 0.5
#: Idle, eligible, hints in its queues and none taken: for so long it is deaf.
DEAF_SECONDS: Final = 20.0
#: What the pulse saw in Redis counts for so long.
SEEN_SECONDS: Final = 2.0
#: A longer gap between two looks: the whole process was stopped, and starts its term anew.
GAP_SECONDS: Final = 3.0
#: A worker that was asked to stop and did not by then is ended.
STOP_SECONDS: Final = 10.0


@dataclass(slots=True)
class Watchdog:
    gpu: int
    held: Held
    standing: Standing
    #: How many hints were taken so far.
    taken: Callable[[], int]
    #: Whether one was taken that waits for its process.
    has_reserved: Callable[[], bool]
    #: Asks the worker to stop, so that whoever keeps it starts it again.
    restart: Callable[[], None]
    #: Ends the process at once, its child first.
    end: Callable[[], None]
    _deaf_since: float | None = None
    _taken: int = -1
    _reading: tuple[str, ...] = ()
    _looked_at: float = float("-inf")
    _asked_at: float | None = None

    @property
    def has_bitten(self) -> bool:
        return self._asked_at is not None

    def tick(self, now: float) -> bool:
        """`now`: monotonic seconds. Returns whether the worker hears its queues, as far as can be told."""
        if self._asked_at is not None:
            if now - self._asked_at > STOP_SECONDS:
                log.error("deaf_worker_ended", gpu=self.gpu, seconds=STOP_SECONDS)
                self.end()
            return False
        if not self._should_hear(now):
            self._deaf_since = None
        elif self._deaf_since is None:
            self._deaf_since = now
        elif now - self._deaf_since >= DEAF_SECONDS:
            self._asked_at = now
            log.error("worker_deaf", gpu=self.gpu, seconds=DEAF_SECONDS, waiting=self.standing.backlog)
            self.restart()
        return self._deaf_since is None

    def _should_hear(self, now: float) -> bool:
        """Idle, eligible, hints lie in the queues that it reads, and nothing has changed since the last look."""
        taken, reading, looked_at = self.taken(), self.standing.reading, self._looked_at
        changed = taken != self._taken or reading != self._reading or now - looked_at > GAP_SECONDS
        self._taken, self._reading, self._looked_at = taken, reading, now
        sees_hints = self.standing.backlog > 0 and now - self.standing.backlog_at < SEEN_SECONDS
        is_idle = bool(reading) and self.held.read() is None and not self.has_reserved()
        return sees_hints and is_idle and not changed
