"""One line for each log record: `time level event key=value`, coloured on a terminal, or JSON."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Final

RESET: Final = "\x1b[0m"
LEVEL_COLOR: Final = {
    "DEBUG": "\x1b[2m",
    "INFO": "",
    "WARNING": "\x1b[33m",
    "ERROR": "\x1b[31m",
    "CRITICAL": "\x1b[1;31m",
}

#: The attributes of every LogRecord; all others were added by `extra=`.
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def without_traceback(record: logging.LogRecord) -> bool:
    """A filter that lets every record pass: its message names the error, and its stack helps nobody."""
    record.exc_info = record.exc_text = None
    return True


class LineFormatter(logging.Formatter):
    """`log.info("job_claimed", extra={"job": 7})` becomes `12:04:31.250 INFO    job_claimed job=7`."""

    def __init__(self, *, json: bool, color: bool) -> None:
        super().__init__()
        self._json, self._color = json, color

    def format(self, record: logging.LogRecord) -> str:
        fields = {key: value for key, value in vars(record).items() if key not in _STANDARD and key != "data"}
        if self._json:
            return self._as_json(record, fields)
        at = datetime.fromtimestamp(record.created, UTC).astimezone().strftime("%H:%M:%S.%f")[:-3]
        parts = [at, f"{record.levelname:<7}", _one_line(record.getMessage())]
        parts += [f"{key}={_one_line(str(value))}" for key, value in fields.items()]
        line = " ".join(parts)
        if record.exc_info:
            # Each line is escaped and indented, so that an exception's message cannot forge a record.
            line += "".join(f"\n  {_one_line(part)}" for part in self.formatException(record.exc_info).splitlines())
        color = LEVEL_COLOR.get(record.levelname, "") if self._color else ""
        return f"{color}{line}{RESET}" if color else line

    def _as_json(self, record: logging.LogRecord, fields: dict[str, object]) -> str:
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "event": record.getMessage(),
            **fields,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _one_line(text: str) -> str:
    """Escapes what cannot be printed, so that a job's name or error cannot forge a line or control the terminal."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
