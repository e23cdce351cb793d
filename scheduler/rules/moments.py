"""Moments by a wall clock, which can be set: how old they are, and by how much a clock was set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: A moment may be this far in the future by the resolution of clocks and by the duration of a query.
SLACK_SECONDS: Final = 1.0

#: A wall clock that moved by this much more or less than the monotonic one was set; NTP slews it by at most 0.5 ms each
#: second.
SET_SECONDS: Final = 2.0
SLEW_SHARE: Final = 0.001


def age(now: float, at: float) -> float | None:
    """Seconds since `at`, both by one clock; None: unknown, since `at` is in the future (the clock was set back)."""
    return None if at > now + SLACK_SECONDS else max(0.0, now - at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Of a wall clock, in seconds since the epoch; asked and answered: monotonic seconds."""

    asked: float
    at: float
    answered: float


def set_by(last: Reading, this: Reading) -> float:
    """By how many seconds the wall clock was set between two readings: less than 0 if back, 0 if it was not."""
    shortest, longest = this.asked - last.answered, this.answered - last.asked
    passed = this.at - last.at
    moved = passed - longest if passed > longest else min(0.0, passed - shortest)
    return moved if abs(moved) >= SET_SECONDS + SLEW_SHARE * longest else 0.0
