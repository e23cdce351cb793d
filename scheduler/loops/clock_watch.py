"""Notices that the database's clock was set, records it as a cluster event, and corrects what waits by that clock.

Without this a clock that was set back would hold up all jobs that were submitted before, until it has caught up.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from django.db import transaction

from scheduler.jobs import lifecycle
from scheduler.jobs.clock import database_now
from scheduler.logs import event_logger
from scheduler.loops import generator
from scheduler.models import ClusterEvent
from scheduler.rules.moments import Reading, set_by

log = event_logger(__name__)

#: The kind of the cluster event.
CLOCK_SET: Final = "clock_set"


def _running_seconds() -> float:
    """Monotonic, and counts the time in which this machine sleeps, where the system can tell."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


@dataclass(slots=True)
class ClockWatch:
    wall: Callable[[], datetime] = database_now
    monotonic: Callable[[], float] = field(default=_running_seconds)
    _last: Reading | None = None

    def tick(self, _now: float) -> int:
        """Returns the number of jobs whose times it corrected."""
        this = self._read()
        last, self._last = self._last, this
        moved = 0.0 if last is None else set_by(last, this)
        unseen = 0.0 if last is None else this.answered - last.asked
        with transaction.atomic():
            corrected, ahead_seconds = lifecycle.begin_to_wait_now()
            if not moved and corrected:
                # It was set while no scheduler looked.
                moved = -ahead_seconds
            if moved:
                generator.move_position(moved)
                _record(moved, this.at, unseen)
        if moved:
            log.warning("clock_set", moved_s=f"{moved:+.1f}", jobs_corrected=corrected)
        return corrected

    def _read(self) -> Reading:
        asked = self.monotonic()
        at = self.wall().timestamp()
        return Reading(asked=asked, at=at, answered=self.monotonic())


def _record(moved: float, now: float, unseen: float) -> None:
    """unseen: seconds since the last look, in which it was set."""
    direction = "back" if moved < 0 else "forward"
    ClusterEvent.objects.create(
        kind=CLOCK_SET,
        message=f"The database's clock was set {direction} by {abs(moved):,.0f} s",
        before={"clock": _iso(now - moved)},
        after={"clock": _iso(now), "moved_seconds": round(moved, 3), "unseen_seconds": round(unseen, 3)},
    )


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
