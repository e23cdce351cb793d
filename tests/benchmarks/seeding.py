"""A made-up history for benchmarks: finished jobs that could have run, written in bulk into a database of their own.

Each GPU runs one job after the other, so that no rule of the verdict is broken. No worker has witnessed the jobs:
`manage.py verify` cannot tell anything (exit 2) about a cluster that holds them, so this is not part of the product.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import batched
from random import Random
from typing import Any, Final

from django.db import connection, transaction

from scheduler.jobs import rollup, statements
from scheduler.jobs.clock import database_now
from scheduler.jobs.tally import SHARED_SHARD
from scheduler.models import Gpu, Job, JobEvent
from scheduler.rules.faults import FAULTS, PROFILES, FaultProfile, default_failure_rate
from scheduler.rules.naming import job_name
from scheduler.rules.states import EventKind, JobState, Priority, Reason, Source

#: Jobs a transaction. Larger than in the cluster itself: this is not meant for one under load.
JOBS_PER_TRANSACTION: Final = 5000

TYPES: Final = ("sleep", "compute", "matrix", "fault_injection")
TYPE_WEIGHTS: Final = (0.70, 0.18, 0.095, 0.025)
PRIORITY_WEIGHTS: Final = (0.05, 0.15, 0.60, 0.20)
SOURCE_WEIGHTS: Final = {Source.GENERATOR: 0.97, Source.API: 0.025, Source.ADMIN: 0.001, Source.CLI: 0.004}
CANCELLED_SHARE: Final = 0.01
#: Failures that no random fault explains, and their reasons.
OWN_FAILURE_SHARE: Final = 0.006
OWN_REASONS: Final = (Reason.JOB_ERROR, Reason.TIMED_OUT, Reason.RESULT_INVALID)
OWN_WEIGHTS: Final = (0.8, 0.19, 0.01)

#: The error of what did not succeed.
MADE_UP: Final = "made up by tests.benchmarks.seeding"

#: After these a job is requeued.
LOSSES: Final = frozenset(effect.reason for effect in FAULTS.values() if effect.retried)

JOB_COLUMNS: Final = tuple(str(field.column) for field in Job._meta.concrete_fields)
EVENT_COLUMNS: Final = ("job_id", "n", "kind", "at", "attempt", "gpu", "boot", "reason", "charged", "detail")

type Key = tuple[datetime, int, str, str, str, str]


@dataclass(slots=True)
class Made:
    """Rows ready for the database, and what they add to the totals."""

    jobs: list[tuple[Any, ...]] = field(default_factory=list)
    events: list[tuple[Any, ...]] = field(default_factory=list)
    rollup: defaultdict[Key, list[float]] = field(default_factory=lambda: defaultdict(lambda: [0, 0, 0.0]))
    tally: Counter[tuple[str, str]] = field(default_factory=Counter)


def seed(jobs: int, *, days: float, gpus: int, seed: int) -> int:
    """Writes `jobs` finished jobs that ended within the last `days`; returns their number."""
    rng = Random(f"history:{seed}")
    now = database_now()
    slot = timedelta(days=days) / (jobs // gpus + 1)
    start = now - slot * (jobs // gpus + 1)
    fold_before = (now - rollup.HOURS_APART).replace(hour=0, minute=0, second=0, microsecond=0)
    Gpu.objects.bulk_create((Gpu(index=gpu, backend="simulated") for gpu in range(gpus)), ignore_conflicts=True)
    for numbers in batched(range(jobs), JOBS_PER_TRANSACTION):
        with transaction.atomic():
            first_id = _take_ids(len(numbers))
            made = Made()
            for number in numbers:
                job_id = first_id + number - numbers[0]
                _make(made, rng, job_id, number % gpus, gpus, start + slot * (number // gpus), slot, fold_before)
            _write(made)
    return jobs


def _make(
    made: Made, rng: Random, job_id: int, gpu: int, gpus: int, at: datetime, slot: timedelta, fold_before: datetime
) -> None:
    """One job within its GPU's time slot: it waits, runs one or two attempts, and ends."""
    job_type = rng.choices(TYPES, TYPE_WEIGHTS)[0]
    priority = rng.choices(tuple(Priority), PRIORITY_WEIGHTS)[0]
    source = rng.choices(tuple(SOURCE_WEIGHTS), tuple(SOURCE_WEIGHTS.values()))[0]
    rate = default_failure_rate(gpu, gpus) if source is Source.GENERATOR else 0.0
    ran = slot * min(0.4, rng.lognormvariate(-1.9, 0.6))
    started = at + slot * 0.05
    story: list[tuple[Any, ...]] = [(EventKind.SUBMITTED, at, 1, None, "", "", False, "")]
    attempt, failures, boot, queued = 1, 0, f"seeded-{gpu}", at

    def end(kind: EventKind, when: datetime, reason: str | None, *, charged: bool = False, words: str = "") -> None:
        story.append((kind, when, attempt, gpu, boot, reason or "", charged, words))
        hour = when.replace(minute=0, second=0, microsecond=0)
        if hour < fold_before:
            hour = hour.replace(hour=0)
        counted = made.rollup[hour, gpu, job_type, priority, kind, reason or ""]
        counted[0] += 1
        if source is Source.GENERATOR and kind is not EventKind.CANCELLED:
            counted[1] += 1
            counted[2] += rate

    story.append((EventKind.STARTED, started, 1, gpu, boot, "", False, ""))
    reason = _failure(rng, rate, job_type)
    if reason in LOSSES:
        queued = started + ran * rng.random()
        end(EventKind.REQUEUED, queued, reason, charged=True)
        attempt, failures, started = 2, 1, started + slot * 0.45
        story.append((EventKind.STARTED, started, 2, gpu, boot, "", False, ""))
        reason = _failure(rng, rate, job_type)
    finished = started + (ran if reason is None else ran * rng.random())
    if reason is not None:
        # A second loss in one job would need a third slot: here it becomes the job's own failure.
        reason = Reason.JOB_ERROR if reason in LOSSES else reason
        state = JobState.FAILED
    elif rng.random() < CANCELLED_SHARE:
        state, reason = JobState.CANCELLED, Reason.CANCEL
    else:
        state = JobState.SUCCEEDED
    end(EventKind(state.value), finished, reason, words="" if state is JobState.SUCCEEDED else MADE_UP)
    _collect(made, rng, job_id, job_type, priority, source, gpu, boot, at, queued, started, finished, attempt,
             failures, state, reason, rate, story)  # fmt: skip


def _failure(rng: Random, rate: float, job_type: str) -> Reason | None:
    if rng.random() < rate:
        weights = PROFILES[FaultProfile.DEMO]
        return FAULTS[rng.choices(tuple(weights), tuple(weights.values()))[0]].reason
    own = 0.7 if job_type == "fault_injection" else OWN_FAILURE_SHARE
    return rng.choices(OWN_REASONS, OWN_WEIGHTS)[0] if rng.random() < own else None


def _collect(
    made: Made, rng: Random, job_id: int, job_type: str, priority: Priority, source: Source, gpu: int, boot: str,
    at: datetime, queued: datetime, started: datetime, finished: datetime, attempt: int, failures: int, state: JobState,
    reason: Reason | None, rate: float, story: Sequence[tuple[Any, ...]],
) -> None:  # fmt: skip
    for n, (kind, when, *rest) in enumerate(story, 1):
        made.events.append((job_id, n, kind, when, *rest))
    row = {
        "id": job_id, "name": job_name(job_id, job_type, priority, 1), "type": job_type, "priority": priority,
        "source": source, "owner": "" if source is Source.GENERATOR else "ada",
        "params": json.dumps({"seconds": round(rng.random() * 20, 1)}), "gpu_memory_mib": 4096,
        "load": 0.9, "time_limit_seconds": 300, "max_failures": 3, "accepts_faults": source is Source.GENERATOR,
        "state": state, "attempt": attempt, "failures": failures, "event_count": len(story),
        "cancel_requested": state is JobState.CANCELLED, "gpu": gpu, "boot": boot, "reason": reason or "",
        "error": "" if state is JobState.SUCCEEDED else MADE_UP,
        "result": json.dumps({"seeded": True}) if state is JobState.SUCCEEDED else None,
        "submitted_at": at, "queued_at": queued, "not_before": at, "elsewhere_until": None, "started_at": started,
        "finished_at": finished, "fault_probability": rate,
    }  # fmt: skip
    made.jobs.append(tuple(row[column] for column in JOB_COLUMNS))
    made.tally[priority, EventKind.SUBMITTED] += 1
    made.tally[priority, EventKind.STARTED] += attempt
    made.tally[priority, state] += 1


# --- writing


def _take_ids(count: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statements.TAKE_IDS, {"count": count})
        (last,) = cursor.fetchone()
    return int(last) - count + 1


def _write(made: Made) -> None:
    _insert(Job._meta.db_table, JOB_COLUMNS, made.jobs)
    _insert(JobEvent._meta.db_table, EVENT_COLUMNS, made.events)
    rollup.add_many((*key, int(n), int(at_risk), expected) for key, (n, at_risk, expected) in made.rollup.items())
    rows = sorted((SHARED_SHARD, str(priority), str(word), n) for (priority, word), n in made.tally.items())
    with connection.cursor() as cursor:
        cursor.execute(statements.tally(len(rows)), [value for row in rows for value in row])


def _insert(table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    names = ", ".join(f'"{column}"' for column in columns)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            with cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        else:
            places = ", ".join(["%s"] * len(columns))
            cursor.executemany(
                f"INSERT INTO {table} ({names}) VALUES ({places})",
                list(_with_text_times(rows)),
            )


def _with_text_times(rows: Sequence[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """SQLite keeps times as Django writes them: text in UTC."""
    for row in rows:
        yield tuple(
            str(value.astimezone(UTC).replace(tzinfo=None)) if isinstance(value, datetime) else value for value in row
        )
