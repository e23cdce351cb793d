"""Counts of ended attempts by hour, from which failure rates are computed. They outlive the jobs they count."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connection, transaction

from scheduler.jobs import statements
from scheduler.models import Rollup

#: The row of a job that was cancelled before it ran.
NO_GPU: Final = -1

#: Of statements.ROLL_UP.
COLUMNS: Final = ("hour", "gpu", "type", "priority", "outcome", "reason", "n", "at_risk", "expected")

#: Hours are kept apart for this time; older ones are folded into the first hour of their day, a twentieth of the rows.
HOURS_APART: Final = timedelta(days=8)


def add(
    cursor: Any,
    at: Any,
    gpu: int | None,
    job_type: str,
    priority: str,
    outcome: str,
    reason: str,
    *,
    at_risk: bool = False,
    expected: float = 0.0,
) -> None:
    """One ended attempt. at: as the database returned it (text on SQLite)."""
    shard = NO_GPU if gpu is None else gpu
    key = (hour_of(at), shard, job_type, priority, outcome, reason)
    cursor.execute(statements.ROLL_UP, _params(*key, 1, int(at_risk), expected if at_risk else 0.0))


def add_many(rows: Iterable[tuple[Any, ...]]) -> None:
    """Rows of hour (a datetime), gpu, type, priority, outcome, reason, n, at_risk, expected."""
    # In order of their keys, so that two transactions never lock the same rows in opposite order.
    ready = [_params(connection.ops.adapt_datetimefield_value(hour), *rest) for hour, *rest in sorted(rows)]
    # Django's SQLite backend learns the parameters' names from the first row.
    if ready:
        with connection.cursor() as cursor:
            cursor.executemany(statements.ROLL_UP, ready)


def _params(*values: Any) -> dict[str, Any]:
    return dict(zip(COLUMNS, values, strict=True))


def hour_of(at: Any) -> Any:
    """The start of the hour, in the form in which the database stores it."""
    if isinstance(at, str):
        return f"{at[:13]}:00:00"
    return connection.ops.adapt_datetimefield_value(at.replace(minute=0, second=0, microsecond=0))


def oldest_to_fold(now: datetime, after: datetime | None = None) -> datetime | None:
    """The first hour later than `after` that is older than HOURS_APART and not folded yet."""
    before = (now - HOURS_APART).replace(hour=0, minute=0, second=0, microsecond=0)
    while True:
        later = Rollup.objects.filter(hour__lt=before, **({} if after is None else {"hour__gt": after}))
        after = later.order_by("hour").values_list("hour", flat=True).first()
        if after is None or after.hour != 0:
            return after


def fold(hour: datetime) -> int:
    """Adds an hour's rows (some hundred) to the first hour of its day, in one transaction. Returns their number.

    Two calls at the same time are safe: the second waits for the first one's rows and then finds them gone.
    """
    with transaction.atomic():
        rows = list(Rollup.objects.filter(hour=hour).order_by("id").select_for_update())
        day = hour.replace(hour=0)
        add_many(
            (day, row.gpu, row.type, row.priority, row.outcome, row.reason, row.n, row.at_risk, row.expected)
            for row in rows
        )
        Rollup.objects.filter(id__in=[row.id for row in rows]).delete()
    return len(rows)
