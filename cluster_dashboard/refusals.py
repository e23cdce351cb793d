"""Requests that anybody may send and that are refused: one line each, and beyond a rate only their number."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

#: Lines of one reason within a minute; the next minute's first line has the number of the others.
LINES_A_MINUTE: Final = 10
_MINUTE_SECONDS: Final = 60.0
#: What a client sent may be much longer.
WORDS_MAXIMUM: Final = 200


class OneLineRefusals(logging.Filter):
    """For a handler. Django logs a wrong Host and its like with a traceback; uvicorn logs what is not HTTP."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        #: reason -> (start of its minute, refusals since)
        self._counts: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool | logging.LogRecord:
        reason = _reason(record)
        if reason is None:
            return True
        not_logged = self._count(reason)
        if not_logged is None:
            return False
        return _one_line(record, reason, not_logged)

    def _count(self, reason: str) -> int | None:
        """Refusals that were not logged in the minute before; None: nor is this one."""
        with self._lock:
            now = self._clock()
            since, count = self._counts.get(reason, (now, 0))
            if now - since < _MINUTE_SECONDS:
                self._counts[reason] = (since, count + 1)
                return 0 if count < LINES_A_MINUTE else None
            self._counts[reason] = (now, 1)
            return max(0, count - LINES_A_MINUTE)


def _reason(record: logging.LogRecord) -> str | None:
    """None: not a refusal. The reasons are few: Django's classes, and uvicorn's one."""
    if record.name.startswith("django.security."):
        return record.name.removeprefix("django.security.")
    # Such as "Invalid HTTP request received." An error of uvicorn is not a client's doing.
    return "http" if record.name == "uvicorn.error" and record.levelno == logging.WARNING else None


def _one_line(record: logging.LogRecord, reason: str, not_logged: int) -> logging.LogRecord:
    line = logging.makeLogRecord(
        {
            "name": record.name,
            "levelno": logging.WARNING,
            "levelname": "WARNING",
            "msg": "request_refused",
            "created": record.created,
            "reason": reason,
            "detail": record.getMessage()[:WORDS_MAXIMUM],
        }
    )
    if not_logged:
        vars(line)["not_logged"] = not_logged
    return line
