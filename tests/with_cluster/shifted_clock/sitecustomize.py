"""On the PYTHONPATH of a cluster: sets the wall clock of its processes and of SQLite ahead, by the seconds in a file.

The monotonic clock is the machine's, as when a person sets the time.
"""

from __future__ import annotations

import datetime
import os
import sqlite3
import time
from pathlib import Path
from typing import Any

_FILE = Path(os.environ["SHIFTED_CLOCK"])
_REAL_TIME, _REAL, _REAL_CONNECT = time.time, datetime.datetime, sqlite3.connect


def shifted() -> float:
    return _REAL_TIME() + float(_FILE.read_text() or 0)


class _Meta(type):
    def __instancecheck__(cls, each: object) -> bool:
        return isinstance(each, _REAL)


class _Shifted(_REAL, metaclass=_Meta):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
        return _REAL.fromtimestamp(shifted(), tz)

    @classmethod
    def utcnow(cls) -> datetime.datetime:
        return _REAL.fromtimestamp(shifted(), datetime.UTC).replace(tzinfo=None)

    @classmethod
    def today(cls) -> datetime.datetime:
        return cls.now()


def _strftime(form: str, moment: str) -> str:
    if moment.upper() != "NOW":
        raise ValueError(f"this clock tells only NOW, not {moment!r}")
    now = _REAL.fromtimestamp(shifted(), datetime.UTC)
    return now.strftime(form.replace("%f", f"%S.{now.microsecond // 1000:03d}"))


def _connect(*args: Any, **kwargs: Any) -> sqlite3.Connection:
    connection = _REAL_CONNECT(*args, **kwargs)
    connection.create_function("strftime", 2, _strftime)
    return connection


time.time = shifted
datetime.datetime = _Shifted  # type: ignore[misc]
sqlite3.connect = sqlite3.dbapi2.connect = _connect  # type: ignore[assignment]
