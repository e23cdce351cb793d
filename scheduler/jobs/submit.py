"""New jobs: checked requests become rows, each with its first event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import batched
from typing import Any, Final

from django.db import IntegrityError, connection, transaction

from scheduler.broker.hints import SubmittedJob
from scheduler.job_type import ParamsInvalid
from scheduler.jobs import statements, tally
from scheduler.jobs.clock import database_now
from scheduler.models import Job, JobEvent
from scheduler.rules.naming import job_name
from scheduler.rules.states import EventKind, JobState, Priority, Source

#: Rows a transaction: the longest write transaction sets everyone's p99 (250 rows take about 56 ms on SQLite).
ROWS_PER_TRANSACTION: Final = 250


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """A job that was checked (scheduler.jobs.admission) and may be submitted."""

    type: str
    priority: Priority
    params: dict[str, Any]
    source: Source
    gpu_memory_mib: int
    load: float
    name: str | None = None
    time_limit_seconds: int = 300
    max_failures: int = 3
    accepts_faults: bool = False


def submit(requests: Sequence[JobRequest], *, name_seed: int = 0) -> list[SubmittedJob]:
    """Inserts the jobs with their first events; the answer never depends on Redis.

    Raises ParamsInvalid("name", ...) if a given name is taken; jobs of earlier transactions then stand.
    """
    submitted: list[SubmittedJob] = []
    for chunk in batched(requests, ROWS_PER_TRANSACTION):
        try:
            with transaction.atomic():
                submitted += submit_chunk(chunk, name_seed=name_seed)
        except IntegrityError:
            names = [request.name for request in chunk if request.name]
            taken = Job.objects.filter(name__in=names).values_list("name", flat=True).first()
            if taken is None:
                raise
            raise ParamsInvalid("name", f"{taken!r} is taken; names are unique") from None
    return submitted


def submit_chunk(requests: Sequence[JobRequest], *, name_seed: int) -> list[SubmittedJob]:
    """The same for at most ROWS_PER_TRANSACTION jobs inside the caller's transaction."""
    first_id = _take_ids(len(requests))
    now = database_now()
    jobs = [_new_job(first_id + i, request, now, name_seed) for i, request in enumerate(requests)]
    _keep_clear_of_given_names(jobs, requests)
    Job.objects.bulk_create(jobs)
    JobEvent.objects.bulk_create(
        JobEvent(job_id=job.id, n=1, kind=EventKind.SUBMITTED, at=now, attempt=1) for job in jobs
    )
    counts: dict[tuple[Priority, str], int] = {}
    for request in requests:
        for word in (JobState.QUEUED, EventKind.SUBMITTED):
            counts[request.priority, word] = counts.get((request.priority, word), 0) + 1
    tally.count(tally.SHARED_SHARD, ((priority, word, n) for (priority, word), n in counts.items()))
    return [
        SubmittedJob(id=job.id, type=job.type, priority=Priority(job.priority), gpu_memory_mib=job.gpu_memory_mib)
        for job in jobs
    ]


def _new_job(job_id: int, request: JobRequest, now: datetime, name_seed: int) -> Job:
    return Job(
        id=job_id,
        name=request.name or job_name(job_id, request.type, request.priority, name_seed),
        type=request.type,
        priority=request.priority,
        source=request.source,
        params=request.params,
        gpu_memory_mib=request.gpu_memory_mib,
        load=request.load,
        time_limit_seconds=request.time_limit_seconds,
        max_failures=request.max_failures,
        accepts_faults=request.accepts_faults or request.source is Source.GENERATOR,
        state=JobState.QUEUED,
        event_count=1,
        submitted_at=now,
        queued_at=now,
        not_before=now,
    )


def _keep_clear_of_given_names(jobs: Sequence[Job], requests: Sequence[JobRequest]) -> None:
    """A user may have given the very name that we would make: ours gets a suffix, so that no tick fails for ever."""
    ours = {job.name: job for job, request in zip(jobs, requests, strict=True) if not request.name}
    for name in Job.objects.filter(name__in=list(ours)).values_list("name", flat=True):
        ours[name].name = f"{name}.{ours[name].id}"


def _take_ids(count: int) -> int:
    """The first of `count` consecutive ids."""
    with connection.cursor() as cursor:
        (last,) = statements.one_row(cursor, statements.TAKE_IDS, (count,)) or (0,)
    return int(last) - count + 1
