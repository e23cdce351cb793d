"""The database's clock, for times that different machines compare."""

from __future__ import annotations

from datetime import datetime

from django.db import DatabaseError, connection

from scheduler.jobs import statements


def database_now() -> datetime:
    with connection.cursor() as cursor:
        (now,) = statements.one_row(cursor, "SELECT {now}", {}) or (None,)
    found = datetime.fromisoformat(f"{now}+00:00") if isinstance(now, str) else now
    if not isinstance(found, datetime):
        raise DatabaseError("the database returned no time")
    return found
