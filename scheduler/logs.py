"""Loggers whose records are an event and its fields: `log.info("job_claimed", job=7)`."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from enum import StrEnum
from typing import Any, Final

from scheduler.database_errors import DatabaseFailure, is_unavailable


class EventLogger(logging.LoggerAdapter[logging.Logger]):
    """Keyword arguments become the record's fields."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        standard = {key: kwargs.pop(key) for key in ("exc_info", "stack_info", "stacklevel") if key in kwargs}
        fields = {f"{key}_" if key in _RESERVED else key: value for key, value in kwargs.items()}
        return msg, {**standard, "extra": fields}


#: Names that logging keeps for itself.
_RESERVED = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def event_logger(name: str) -> EventLogger:
    return EventLogger(logging.getLogger(name), {})


class Outage:
    """Logs once that the broker or the database is unreachable for a component or refuses its work, and once that it
    has recovered.

    component: what cannot work meanwhile, for example `relay`. fields: added to each record. Not thread-safe.
    """

    def __init__(self, log: EventLogger, component: str, **fields: object) -> None:
        self._log = log
        self._fields: dict[str, Any] = {"component": component, **fields}
        self._troubles: set[_Trouble] = set()

    @property
    def is_on(self) -> bool:
        return bool(self._troubles)

    def broke(self, error: BaseException) -> None:
        """Call it at each failed try. An error of Django's database layer is the database's; any other, the
        broker's. An error that waiting does not mend is `database_refused`, with its traceback."""
        trouble = _trouble(error)
        if trouble in self._troubles:
            return
        self._troubles.add(trouble)
        words = f"{type(error).__name__}: {error}"
        if trouble is _Trouble.DATABASE_REFUSED:
            self._log.error(trouble, **self._fields, error=words, exc_info=error)
        else:
            self._log.warning(trouble, **self._fields, error=words)

    def recovered(self) -> None:
        """Call it after each try that worked."""
        for event in sorted({_RECOVERED[trouble] for trouble in self._troubles}):
            self._log.info(event, **self._fields)
        self._troubles.clear()


class _Trouble(StrEnum):
    BROKER_UNREACHABLE = "broker_unreachable"
    DATABASE_UNREACHABLE = "database_unreachable"
    DATABASE_REFUSED = "database_refused"


_RECOVERED: Final = {
    _Trouble.BROKER_UNREACHABLE: "broker_recovered",
    _Trouble.DATABASE_UNREACHABLE: "database_recovered",
    _Trouble.DATABASE_REFUSED: "database_recovered",
}


def _trouble(error: BaseException) -> _Trouble:
    if not isinstance(error, DatabaseFailure):
        return _Trouble.BROKER_UNREACHABLE
    return _Trouble.DATABASE_UNREACHABLE if is_unavailable(error) else _Trouble.DATABASE_REFUSED
