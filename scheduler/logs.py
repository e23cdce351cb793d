"""Loggers whose records are an event and its fields: `log.info("job_claimed", job=7)`."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from enum import StrEnum
from typing import Any

from django.db import Error as DatabaseFailure


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
    """Logs once that the broker or the database is unreachable for a component, and once that it has recovered.

    component: what cannot work meanwhile, for example `relay`. fields: added to each record. Not thread-safe.
    """

    def __init__(self, log: EventLogger, component: str, **fields: object) -> None:
        self._log = log
        self._fields: dict[str, Any] = {"component": component, **fields}
        self._unreachable: set[_Service] = set()

    @property
    def is_on(self) -> bool:
        return bool(self._unreachable)

    def broke(self, error: BaseException) -> None:
        """Call it at each failed try. An error of Django's database layer is the database's; any other, the
        broker's."""
        service = _Service.DATABASE if isinstance(error, DatabaseFailure) else _Service.BROKER
        if service in self._unreachable:
            return
        self._unreachable.add(service)
        event = "database_unreachable" if service is _Service.DATABASE else "broker_unreachable"
        self._log.warning(event, **self._fields, error=f"{type(error).__name__}: {error}")

    def recovered(self) -> None:
        """Call it after each try that worked."""
        for service in sorted(self._unreachable):
            event = "database_recovered" if service is _Service.DATABASE else "broker_recovered"
            self._log.info(event, **self._fields)
        self._unreachable.clear()


class _Service(StrEnum):
    BROKER = "broker"
    DATABASE = "database"
