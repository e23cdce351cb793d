"""A loop with a thread: the one class for every loop that runs beside a process's main thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Thread
from typing import Final

from django.db import connection

from scheduler.logs import event_logger

log = event_logger(__name__)

#: How long `stop` waits for the tick in progress.
JOIN_SECONDS: Final = 5.0


class Sign:
    """Shows that a part of the process goes round, and mostly succeeds. Written by its thread, read by another."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.turned_at = time.monotonic()
        self.worked_at = float("-inf")

    def turned(self) -> None:
        """It went round, whatever came of it."""
        self.turned_at = time.monotonic()

    def worked(self) -> None:
        """It did what it is for."""
        self.turned_at = self.worked_at = time.monotonic()


class Ticker(Thread):
    """Calls `tick(monotonic seconds)` each period until it is stopped. The thread has the name of the loop.

    tick: returns whether it did what it is for (`sign`). An exception is logged, and the loop goes on.
    period_seconds: a number, or a function that is asked before each wait.
    at_end: called in the thread after the last tick.
    """

    def __init__(
        self,
        name: str,
        tick: Callable[[float], bool],
        period_seconds: float | Callable[[], float],
        *,
        at_end: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._tick, self._period, self._at_end = tick, period_seconds, at_end
        self._stopping = Event()
        self.sign = Sign(name)

    def run(self) -> None:
        while not self._stopping.wait(self._period() if callable(self._period) else self._period):
            self.sign.turned()
            try:
                if self._tick(time.monotonic()):
                    self.sign.worked()
            except Exception:
                # A defect in one tick must not end the loop: without its heartbeat a healthy worker loses its job.
                log.exception("tick_failed", loop=self.name)
        self._at_end()
        connection.close()

    def ask_to_stop(self) -> None:
        """The tick in progress is the last one."""
        self._stopping.set()

    def stop(self) -> None:
        """Returns when the thread has ended, or after JOIN_SECONDS."""
        self.ask_to_stop()
        if self.ident is not None:
            self.join(JOIN_SECONDS)
