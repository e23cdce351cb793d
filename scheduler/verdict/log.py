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

#: How long a chaos scenario explains deaths if its end was not recorded.
SCENARIO_SECONDS: Final = 180.0

_COLUMNS: Final = """
       e.job_id, e.n, e.kind, e.at, e.attempt, e.gpu, e.boot, e.reason, e.charged, e.id,
       j.type, j.state, j.attempt, j.failures, j.max_failures, j.event_count, j.gpu, j.boot, j.reason,
       j.cancel_requested, j.submitted_at, j.queued_at, j.started_at, j.finished_at
  FROM scheduler_jobevent e LEFT JOIN scheduler_job j ON j.id = e.job_id
"""


# Not frozen: there are a million of each, and a frozen one takes three times as long to make.
@dataclass(slots=True)
class Row:
    """The job's row as it is now; every field is None if the row is missing. Times are as the database returned them:
    there is one of these for each event, and few are looked at."""

    type: str | None
    state: str | None
    attempt: int | None
    failures: int | None
    max_failures: int | None
    event_count: int | None
    gpu: int | None
    boot: str | None
    reason: str | None
    cancel_requested: bool | None
    submitted_at: Any
    queued_at: Any
    started_at: Any
    finished_at: Any


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
        for number in next(iter(rows(statement)))
        if number is not None
    ]
    return (min(found), max(found)) if found else (0, 0)


def events_by_job(first: int, end: int) -> Iterator[Event]:
    """Of the jobs from `first` up to, not including, `end`."""
    return _events(f"SELECT {_COLUMNS} WHERE e.job_id >= %s AND e.job_id < %s ORDER BY e.job_id, e.n", first, end)


def events_by_gpu(first_job: int) -> Iterator[tuple[int, int, str]]:
    """(GPU, job, kind), GPU by GPU."""
    yield from rows(
        "SELECT gpu, job_id, kind FROM scheduler_jobevent WHERE job_id >= %s AND gpu IS NOT NULL ORDER BY gpu, id",
        first_job,
    )


def events_in_order(first_job: int) -> Iterator[tuple[int, str, float, str]]:
    """(job, kind, at, priority) of the events by which a job begins or stops to wait."""
    statement = """
        SELECT e.job_id, e.kind, e.at, j.priority
          FROM scheduler_jobevent e LEFT JOIN scheduler_job j ON j.id = e.job_id
         WHERE e.job_id >= %s AND e.kind IN ('submitted', 'started', 'requeued', 'cancelled') ORDER BY e.id"""
    for job, kind, at, priority in rows(statement, first_job):
        yield job, kind, _seconds(at), priority or "normal"


def jobs_without_events(first_job: int) -> list[int]:
    return [
        row[0]
        for row in rows(
            "SELECT id FROM scheduler_job j WHERE j.id >= %s"
            " AND NOT EXISTS (SELECT 1 FROM scheduler_jobevent e WHERE e.job_id = j.id)",
            first_job,
        )
    ]


def set_backs() -> list[SetBack]:
    """Each time that the database's clock was set back, as the cluster recorded it."""
    found = []
    recorded = rows("SELECT before, after FROM scheduler_clusterevent WHERE kind = 'clock_set' ORDER BY id")
    for before, after in recorded:
        try:
            expected, seen = json.loads(before), json.loads(after)
            until, at, unseen = _seconds(expected["clock"]), _seconds(seen["clock"]), float(seen["unseen_seconds"])
        except (ValueError, TypeError, KeyError):
            continue  # explains nothing
        if at < until:
            found.append(SetBack(until=until, since=at - unseen))
    return found


def last_removed_job() -> int:
    """The highest id that retention removed; 0 if it removed none."""
    ((last,),) = rows("SELECT COALESCE(MAX(job), 0) FROM scheduler_checkpoint")
    return int(last)


def first_job_since(at: datetime) -> int:
    """The lowest id of the jobs submitted at or after `at`; beyond every id if there is none."""
    (found,) = next(iter(rows("SELECT MIN(id) FROM scheduler_job WHERE submitted_at >= %s", at)))
    return 2**62 if found is None else int(found)


@dataclass(frozen=True, slots=True)
class Disturbances:
    """What people and the cluster broke on purpose. Seconds since the epoch."""

    #: By GPU: when its worker or its job process was hit.
    faults: dict[int, list[float]]
    #: From when to when a chaos scenario was played, its recovery included.
    scenarios: list[tuple[float, float]]

    def explain(self, gpu: int | None, since: float, until: float) -> bool:
        """A death on this GPU, of an attempt that started at `since` and was found lost at `until`."""
        hit = any(since <= at <= until for at in self.faults.get(gpu or 0, ()))
        return hit or any(began <= until and since <= ended for began, ended in self.scenarios)


def disturbances() -> Disturbances:
    faults: dict[int, list[float]] = {}
    scenarios: list[tuple[float, float]] = []
    for kind, gpu, at in rows(
        "SELECT kind, gpu, at FROM scheduler_clusterevent"
        " WHERE kind IN ('fault', 'chaos_began', 'chaos_ended') ORDER BY id"
    ):
        moment = _seconds(at)
        if kind == "fault":
            faults.setdefault(gpu or 0, []).append(moment)
        elif kind == "chaos_began":
            scenarios.append((moment, moment + SCENARIO_SECONDS))
        elif scenarios:
            scenarios[-1] = (scenarios[-1][0], moment)
    return Disturbances(faults, scenarios)


def errors_that_differ(first_job: int) -> list[int]:
    """The jobs whose row has another error than the event of their end, or one without an end."""
    # An end while the job waited, by a cancel, has no GPU, and its words are no error.
    statement = """
        SELECT e.job_id FROM scheduler_jobevent e JOIN scheduler_job j ON j.id = e.job_id
         WHERE e.job_id >= %s AND e.kind IN ('succeeded', 'failed', 'cancelled')
           AND j.error <> CASE WHEN e.gpu IS NULL THEN '' ELSE e.detail END
         UNION ALL
        SELECT id FROM scheduler_job WHERE id >= %s AND error <> '' AND finished_at IS NULL"""
    return [job for (job,) in rows(statement, first_job, first_job)]


def seconds(at: Any) -> float | None:
    """Of a time as the database returned it, since the epoch."""
    return None if at is None else _seconds(at)


def _events(statement: str, *params: Any) -> Iterator[Event]:
    for row in rows(statement, *params):
        job, n, kind, at, attempt, gpu, boot, reason, charged, event_id, *of_job = row
        yield Event(job, n, kind, _seconds(at), attempt, gpu, boot, reason, bool(charged), event_id, Row(*of_job))


def rows(statement: str, *params: Any) -> Iterator[tuple[Any, ...]]:
    """Of a statement that only reads, a few thousand in memory at a time."""
    with connection.chunked_cursor() as cursor:
        cursor.execute(statement, params)
        while some := cursor.fetchmany(_ROWS_AT_ONCE):
            yield from some


def _seconds(at: Any) -> float:
    if isinstance(at, str):
        found = datetime.fromisoformat(at)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    return float(at.timestamp())
