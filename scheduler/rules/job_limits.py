"""The limits that a job carries: their defaults, and the range that people may ask for."""

from __future__ import annotations

import re
from typing import Final

#: A job that runs for longer is ended as timed out, unless its submission says otherwise.
TIME_LIMIT_SECONDS: Final = 300

#: The longest time limit that a job may have, unless the setting TIME_LIMIT_MAX says otherwise: 14 days.
TIME_LIMIT_MAX_SECONDS: Final = 14 * 86_400

#: What TIME_LIMIT_MAX itself may be: not below the default limit of a job; up to a year.
TIME_LIMIT_MAX_LOWEST_SECONDS: Final = TIME_LIMIT_SECONDS
TIME_LIMIT_MAX_HIGHEST_SECONDS: Final = 365 * 86_400

#: Charged failures after which a job fails for good, unless its submission says otherwise.
FAILURE_LIMIT: Final = 3
FAILURE_LIMIT_MAXIMUM: Final = 100

_UNITS: Final = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
_WITH_UNIT: Final = re.compile(r"([0-9]{1,9})([smhd])")
_CLOCK: Final = re.compile(r"([0-9]{1,5}):([0-5][0-9]):([0-5][0-9])")


class NoTimeSpan(ValueError):
    """The text is not a time span. Its words name the accepted forms."""


def parse_time_span(text: str) -> int:
    """Seconds of 90s, 30m, 4h, 14d or HH:MM:SS. A bare number is refused: it could mean seconds, minutes or hours."""
    found = text.strip().lower()
    if match := _WITH_UNIT.fullmatch(found):
        return int(match[1]) * _UNITS[match[2]]
    if match := _CLOCK.fullmatch(found):
        return int(match[1]) * 3600 + int(match[2]) * 60 + int(match[3])
    if re.fullmatch("[0-9]{1,9}", found):
        raise NoTimeSpan(f"{text!r} has no unit: {found}s are seconds, {found}m minutes, {found}h hours, {found}d days")
    raise NoTimeSpan(f"{text!r} is not a time span such as 90s, 30m, 4h, 14d or HH:MM:SS")


def time_span(seconds: int) -> str:
    """In the largest unit that leaves no rest: 14d, 90s. parse_time_span reads it."""
    unit, size = next((unit, size) for unit, size in _UNITS.items() if seconds % size == 0)
    return f"{seconds // size}{unit}"
