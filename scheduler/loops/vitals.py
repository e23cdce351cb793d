"""Whether this process works, shown by the age of $STATE_DIR/run/<name>.health.

A container's health check is then one `find`, which starts no interpreter. A process with a loop that is stuck
ends itself, and its supervisor starts it again: perhaps nothing outside it can tell.

<name>.alive is touched whether the parts work or not. It gets old only if no thread of this process runs: then its
supervisor, or the health check of its container, ends it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from scheduler.logs import event_logger
from scheduler.loops.ticker import Sign, Ticker

log = event_logger(__name__)

CHECK_SECONDS: Final = 1.0
#: A part whose last success is older than this does not work: the file is no longer touched.
WELL_SECONDS: Final = 10.0
#: A part that has not gone round for this time is stuck. Far above every timeout in its loop.
STUCK_SECONDS: Final = 60.0
#: The end of the name of the file that shows that any thread runs.
ALIVE_SUFFIX: Final = ".alive"
#: sysexits.h's "internal software error".
EXIT_STUCK: Final = 70


class Vitals:
    def __init__(self, health_file: Path, signs: Sequence[Sign], *, end: Callable[[int], object] = os._exit) -> None:
        self._file, self._signs, self._end = health_file, signs, end
        self._alive = health_file.with_suffix(ALIVE_SUFFIX)
        self._last_tick = time.monotonic()
        self._ticker = Ticker("vitals", self.tick, CHECK_SECONDS, at_end=self._remove)

    def start(self) -> None:
        self._ticker.start()

    def stop(self) -> None:
        """The health file is gone when it returns."""
        self._ticker.stop()

    def tick(self, now: float) -> bool:
        """`now`: monotonic seconds. Returns whether all parts work."""
        self._touch(self._alive)
        if now - self._last_tick > 5 * CHECK_SECONDS:
            # The whole process was suspended, not one part of it: each part gets a fresh term.
            for sign in self._signs:
                sign.turned_at = now
        self._last_tick = now
        stuck = [sign.name for sign in self._signs if now - sign.turned_at > STUCK_SECONDS]
        if stuck:
            log.error("process_stuck", parts=", ".join(stuck), seconds=STUCK_SECONDS)
            self._end(EXIT_STUCK)
            return False
        works = all(now - sign.worked_at < WELL_SECONDS for sign in self._signs)
        if works:
            self._touch(self._file)
        return works

    def _touch(self, file: Path) -> None:
        try:
            file.touch(mode=0o600)
        except OSError as error:
            log.warning("health_file_not_written", file=file, error=error)

    def _remove(self) -> None:
        for file in (self._alive, self._file):
            file.unlink(missing_ok=True)
