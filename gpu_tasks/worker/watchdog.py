"""A worker that no longer hears its queues restarts itself.

A consumer can go deaf without an error: a half-open connection, a subscription that a reconnect forgot. Its worker
still sends heartbeats, so nothing outside it can tell it from an idle one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gpu_tasks.worker.held import Held
from scheduler.logs import event_logger

log = event_logger(__name__)

WATCHDOG_PERIOD_SECONDS: Final = 0.5
#: A worker that is idle and eligible, and for this time takes none of the hints in its queues, is deaf.
DEAF_SECONDS: Final = 20.0
#: After a longer gap between two ticks the whole process was suspended: its term starts again.
GAP_SECONDS: Final = 3.0
#: A worker that was asked to stop, and still runs after this time, is ended.
DEAF_STOP_SECONDS: Final = 10.0


@dataclass(slots=True)
class Watchdog:
    gpu: int
    held: Held
    #: The queues that this GPU reads now.
    reading: Callable[[], tuple[str, ...]]
    #: The number of hints in them, at monotonic seconds; 0 if unknown.
    hints_waiting: Callable[[float], int]
    #: The number of hints taken since the start.
    taken: Callable[[], int]
    #: Whether a hint was taken that the job process has not got yet.
    has_reserved: Callable[[], bool]
    #: Asks the worker to stop, so that its supervisor starts it again.
    restart: Callable[[], None]
    #: Ends the process at once, the job process first.
    end: Callable[[], None]
    _deaf_since: float | None = None
    _taken: int = -1
    _read: tuple[str, ...] = ()
    _looked_at: float = float("-inf")
    _asked_at: float | None = None

    @property
    def has_bitten(self) -> bool:
        return self._asked_at is not None

    def tick(self, now: float) -> bool:
        """`now`: monotonic seconds. Returns False while the worker seems to be deaf."""
        if self._asked_at is not None:
            if now - self._asked_at > DEAF_STOP_SECONDS:
                log.error("deaf_worker_ended", gpu=self.gpu, seconds=DEAF_STOP_SECONDS)
                self.end()
            return False
        if not self._should_hear(now):
            self._deaf_since = None
        elif self._deaf_since is None:
            self._deaf_since = now
        elif now - self._deaf_since >= DEAF_SECONDS:
            self._asked_at = now
            log.error("worker_deaf", gpu=self.gpu, seconds=DEAF_SECONDS, waiting=self.hints_waiting(now))
            self.restart()
        return self._deaf_since is None

    def _should_hear(self, now: float) -> bool:
        """Idle, eligible, hints are in the queues that it reads, and nothing has changed since the last tick."""
        taken, reading, looked_at = self.taken(), self.reading(), self._looked_at
        changed = taken != self._taken or reading != self._read or now - looked_at > GAP_SECONDS
        self._taken, self._read, self._looked_at = taken, reading, now
        is_idle = bool(reading) and self.held.read() is None and not self.has_reserved()
        return self.hints_waiting(now) > 0 and is_idle and not changed
