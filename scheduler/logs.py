"""Loggers whose records are an event and its fields: `log.info("claimed", job=7)`."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any


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
