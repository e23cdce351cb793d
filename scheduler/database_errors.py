"""The one place that tells "the database is unavailable" from "the database can never store this"."""

from __future__ import annotations

from typing import Final

from django.db import Error, InterfaceError, OperationalError

#: Every error of Django's database layer: InterfaceError (a closed connection) is no DatabaseError.
DatabaseFailure = Error

#: What a write raises whose values the database or its driver can never store.
NeverStored: Final = (Error, ValueError, TypeError, OverflowError)

#: SQLSTATE of a server that only reads for now, such as a standby during a failover. Django calls it InternalError.
_READ_ONLY: Final = "25006"
#: SQLSTATE class "program limit exceeded", such as a row that is too large. Django calls it OperationalError.
_LIMIT_EXCEEDED: Final = "54"


def is_unavailable(error: BaseException) -> bool:
    """Whether the same call can succeed later: the database is unreachable, locked, full, or only reads for now.

    False: it fails again each time (value not storable, constraint broken, no such table), so waiting does not help.
    """
    state = getattr(error.__cause__, "sqlstate", None) or ""
    if state == _READ_ONLY:
        return True
    return isinstance(error, OperationalError | InterfaceError) and not state.startswith(_LIMIT_EXCEEDED)
