"""Whether this process does what it is for, told by the age of $STATE_DIR/run/<name>.health.

A container's health check is then one `find`, which starts no interpreter. A process whose own loop stands
still ends itself: whoever started it starts it again, and nobody else may be able to tell.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event, Thread
from typing import Final

from scheduler.logs import event_logger

log = event_logger(__name__)

PERIOD_SECONDS: Final = 1.0
#: A part that did its work so long ago is not well; the file is left to age.
WELL_SECONDS: Final = 10.0
#: A part that did not even go round for so long never will. Far above every timeout of ours.
STUCK_SECONDS: Final = 60.0
#: sysexits.h's "internal software error".
EXIT_STUCK: Final = 70


class Sign:
    """One part of the process that goes round, and mostly succeeds. Written by its thread, read by another."""

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


class Vitals(Thread):
    def __init__(self, health_file: Path, signs: Sequence[Sign], *, end: Callable[[int], object] = os._exit) -> None:
        super().__init__(name="vitals", daemon=True)
        self._file, self._signs, self._end = health_file, signs, end
        self._stopping = Event()
        self._last_tick = time.monotonic()

    def run(self) -> None:
        while not self._stopping.wait(PERIOD_SECONDS):
            self.tick(time.monotonic())
        self._file.unlink(missing_ok=True)

    def stop(self) -> None:
        self._stopping.set()

    def tick(self, now: float) -> None:
        """`now`: monotonic seconds."""
        if now - self._last_tick > 5 * PERIOD_SECONDS:
            # The whole process was stopped, not one part of it: everybody gets a fresh term.
            for sign in self._signs:
                sign.turned_at = now
        self._last_tick = now
        stuck = [sign.name for sign in self._signs if now - sign.turned_at > STUCK_SECONDS]
        if stuck:
            log.error("process_stuck", parts=", ".join(stuck), seconds=STUCK_SECONDS)
            self._end(EXIT_STUCK)
        elif all(now - sign.worked_at < WELL_SECONDS for sign in self._signs):
            self._touch()

    def _touch(self) -> None:
        try:
            self._file.touch(mode=0o600)
        except OSError as error:
            log.warning("health_file_not_written", file=self._file, error=error)
