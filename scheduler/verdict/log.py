"""Reads the events that are judged, with the rows of their jobs. Streams; keeps nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from django.db import connection

_ROWS_AT_ONCE: Final = 5000

_COLUMNS: Final = """
       e.job_id, e.n, e.kind, e.at, e.attempt, e.gpu, e.boot, e.reason, e.charged, e.id,
       j.state, j.attempt, j.failures, j.max_failures, j.event_count, j.priority, j.name
  FROM scheduler_jobevent e LEFT JOIN scheduler_job j ON j.id = e.job_id
"""


# Not frozen: there are a million of each, and a frozen one takes three times as long to make.
@dataclass(slots=True)
class Row:
    """The job's row as it is now; every field is None if the row is missing."""

    state: str | None
    attempt: int | None
    failures: int | None
    max_failures: int | None
    event_count: int | None
    priority: str | None
    name: str | None


@dataclass(slots=True)
class Event:
    """at: seconds since the epoch, by the database's clock."""

    job: int
    n: int
    kind: str
    at: float
    attempt: int
    gpu: int | None
    boot: str
    reason: str
    charged: bool
    id: int
    row: Row


@dataclass(frozen=True, slots=True)
class SetBack:
    """until: the latest moment by the old clock. since: the earliest by the new one. Seconds since the epoch."""

    until: float
    since: float


@contextmanager
def snapshot() -> Iterator[float]:
    """All reads inside see the same moment and block no writer; yields that moment by the database's clock."""
    begin = "BEGIN DEFERRED" if connection.vendor == "sqlite" else "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    with connection.cursor() as cursor:
        cursor.execute(begin)
        try:
            # The first read fixes the moment.
            cursor.execute("SELECT COUNT(*) FROM scheduler_lease")
            cursor.execute("SELECT CURRENT_TIMESTAMP")
            yield _seconds(cursor.fetchone()[0])
        finally:
            cursor.execute("ROLLBACK")


def job_range() -> tuple[int, int]:
    """The lowest and the highest id of a job in the log or the rows; (0, 0) if there is none."""
    found = [
        number
        for statement in (
            "SELECT MIN(id), MAX(id) FROM scheduler_job",
            "SELECT MIN(job_id), MAX(job_id) FROM scheduler_jobevent",
        )
        for number in next(iter(_rows(statement)))
        if number is not None
    ]
    return (min(found), max(found)) if found else (0, 0)


def events_by_job(first: int, end: int) -> Iterator[Event]:
    """Of the jobs from `first` up to, not including, `end`."""
    return _events(f"SELECT {_COLUMNS} WHERE e.job_id >= %s AND e.job_id < %s ORDER BY e.job_id, e.n", first, end)


def events_by_gpu(first_job: int) -> Iterator[tuple[int, int, str]]:
    """(GPU, job, kind), GPU by GPU."""
    yield from _rows(
        "SELECT gpu, job_id, kind FROM scheduler_jobevent WHERE job_id >= %s AND gpu IS NOT NULL ORDER BY gpu, id",
        first_job,
    )


def events_in_order(first_job: int) -> Iterator[tuple[int, str, float, str]]:
    """(job, kind, at, priority) of the events by which a job begins or stops to wait."""
    statement = """
        SELECT e.job_id, e.kind, e.at, j.priority
          FROM scheduler_jobevent e LEFT JOIN scheduler_job j ON j.id = e.job_id
         WHERE e.job_id >= %s AND e.kind IN ('submitted', 'started', 'requeued', 'cancelled') ORDER BY e.id"""
    for job, kind, at, priority in _rows(statement, first_job):
        yield job, kind, _seconds(at), priority or "normal"


def jobs_without_events(first_job: int) -> list[int]:
    return [
        row[0]
        for row in _rows(
            "SELECT id FROM scheduler_job j WHERE j.id >= %s"
            " AND NOT EXISTS (SELECT 1 FROM scheduler_jobevent e WHERE e.job_id = j.id)",
            first_job,
        )
    ]


def set_backs() -> list[SetBack]:
    """Each time that the database's clock was set back, as the cluster recorded it."""
    found = []
    rows = _rows("SELECT before, after FROM scheduler_clusterevent WHERE kind = 'clock_set' ORDER BY id")
    for before, after in rows:
        try:
            expected, seen = json.loads(before), json.loads(after)
            until, at, unseen = _seconds(expected["clock"]), _seconds(seen["clock"]), float(seen["unseen_seconds"])
        except (ValueError, TypeError, KeyError):
            continue  # explains nothing
        if at < until:
            found.append(SetBack(until=until, since=at - unseen))
    return found


def row_counts() -> dict[str, int]:
    """The number of jobs in each state, counted from the rows."""
    return dict(_rows("SELECT state, COUNT(*) FROM scheduler_job GROUP BY state"))


def live_counts() -> dict[str, int]:
    """The live counts, which each change of state keeps up to date."""
    return {word: int(n) for word, n in _rows("SELECT word, SUM(n) FROM scheduler_tally GROUP BY word")}


def removed_counts() -> dict[str, int]:
    """The number of jobs that retention removed, by their final state, from its checkpoints."""
    (row,) = _rows(
        "SELECT COALESCE(SUM(succeeded), 0), COALESCE(SUM(failed), 0), COALESCE(SUM(cancelled), 0)"
        " FROM scheduler_checkpoint"
    )
    return dict(zip(("succeeded", "failed", "cancelled"), map(int, row), strict=True))


def last_removed_job() -> int:
    """The highest id that retention removed; 0 if it removed none."""
    ((last,),) = _rows("SELECT COALESCE(MAX(job), 0) FROM scheduler_checkpoint")
    return int(last)


def first_job_since(at: datetime) -> int:
    """The lowest id of the jobs submitted at or after `at`; beyond every id if there is none."""
    (found,) = next(iter(_rows("SELECT MIN(id) FROM scheduler_job WHERE submitted_at >= %s", at)))
    return 2**62 if found is None else int(found)


def _events(statement: str, *params: Any) -> Iterator[Event]:
    for row in _rows(statement, *params):
        job, n, kind, at, attempt, gpu, boot, reason, charged, event_id, *of_job = row
        yield Event(job, n, kind, _seconds(at), attempt, gpu, boot, reason, bool(charged), event_id, Row(*of_job))


def _rows(statement: str, *params: Any) -> Iterator[tuple[Any, ...]]:
    with connection.chunked_cursor() as cursor:
        cursor.execute(statement, params)
        while rows := cursor.fetchmany(_ROWS_AT_ONCE):
            yield from rows


def _seconds(at: Any) -> float:
    if isinstance(at, str):
        found = datetime.fromisoformat(at)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    return float(at.timestamp())
