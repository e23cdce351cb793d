"""A job's life: submit, claim, end, requeue, cancel. The only writer of Job.

Each move and its event are one transaction, and every write by a worker shows its attempt. A write that
comes too late changes nothing and says so: the caller discards its result.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import batched
from typing import Any, Final

from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from scheduler import rollup, statements
from scheduler.gpu import fits
from scheduler.job_type import ParamsInvalid
from scheduler.models import Allocation, Gpu, Job, JobEvent
from scheduler.naming import job_name
from scheduler.remedies import Remedy, all_off, is_on
from scheduler.states import (
    CHARGED_REASONS,
    EventKind,
    JobState,
    Priority,
    Reason,
    Source,
    event_for,
)

#: Rows a transaction: the longest write transaction sets everyone's p99 (250 rows take about 56 ms on SQLite).
ROWS_PER_TRANSACTION: Final = 250

#: The shard of every process that is not a GPU worker.
SHARED_SHARD: Final = -1

#: Seconds before a job runs again after its first, second, ... charged failure; the last one repeats.
BACKOFF_SECONDS: Final = (1, 2, 4, 8, 15)

#: For so long after its back-off a failed job is left to another GPU than the one it failed on.
ELSEWHERE_SECONDS: Final = 2

ERROR_LENGTH: Final = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """A job that was checked (scheduler.admission) and may be submitted."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmittedJob:
    id: int
    type: str
    priority: Priority
    gpu_memory_mib: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """What the worker's child needs to run the job it has just won."""

    job_id: int
    attempt: int
    type: str
    priority: Priority
    params: dict[str, Any]
    source: Source
    accepts_faults: bool
    gpu_memory_mib: int
    load: float
    time_limit_seconds: int


class Refusal(StrEnum):
    """Why a claim was not granted."""

    STALE = "stale"
    GPU_BUSY = "gpu_busy"
    #: Better on another GPU: it failed here just now.
    ELSEWHERE = "elsewhere"
    #: Only possible on another GPU: it needs more memory.
    TOO_BIG = "too_big"


class CancelOutcome(StrEnum):
    CANCELLED = "cancelled"
    REQUESTED = "requested"
    ALREADY_ENDED = "already_ended"


# --- submit ---------------------------------------------------------------------------------------


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
    _count(SHARED_SHARD, ((priority, word, n) for (priority, word), n in counts.items()))
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


# --- claim and end: the hot path ------------------------------------------------------------------


def claim(job_id: int, attempt: int, *, gpu: int, boot: str) -> Claimed | Refusal:
    """queued -> running for exactly one worker; anybody else is refused."""
    statement = statements.claim(all_off())
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            row = _one(cursor, statement, (gpu, boot, gpu, job_id, attempt, gpu, gpu, gpu, gpu))
            if row is not None:
                *job, started_at, n = row
                cursor.execute(statements.ALLOCATE, (gpu, job_id, attempt))
                _event(cursor, job_id, n, EventKind.STARTED, started_at, attempt, gpu=gpu, boot=boot)
                priority = Priority(job[1])
                _count(gpu, [*_moved(priority, JobState.QUEUED, JobState.RUNNING), (priority, EventKind.STARTED, 1)])
    except IntegrityError:
        # Two claims for one GPU at once: the primary key of Allocation let one pass.
        return Refusal.GPU_BUSY
    if row is None:
        return _why_refused(job_id, attempt, gpu)
    return Claimed(
        job_id=job_id,
        attempt=attempt,
        type=job[0],
        priority=priority,
        params=json.loads(job[2]),
        source=Source(job[3]),
        accepts_faults=bool(job[4]),
        gpu_memory_mib=job[5],
        load=job[6],
        time_limit_seconds=job[7],
    )


def _why_refused(job_id: int, attempt: int, gpu: int) -> Refusal:
    claimable = Job.objects.due().filter(id=job_id, attempt=attempt, cancel_requested=False)
    needed_mib = claimable.values_list("gpu_memory_mib", flat=True).first()
    if needed_mib is None:
        return Refusal.STALE
    if Allocation.objects.filter(gpu=gpu).exists():
        return Refusal.GPU_BUSY
    total_mib = Gpu.objects.filter(index=gpu).values_list("memory_total_mib", flat=True).first()
    return Refusal.ELSEWHERE if fits(total_mib, needed_mib) else Refusal.TOO_BIG


def end(
    job_id: int,
    attempt: int,
    state: JobState,
    *,
    reason: Reason | None = None,
    error: str = "",
    result: dict[str, Any] | None = None,
) -> bool:
    """running -> a terminal state, if the attempt is still the current one. False: refused and counted."""
    kind = event_for(job_id, JobState.RUNNING, state)
    reason_word, error = reason or "", error[:ERROR_LENGTH]
    result_text = None if result is None else json.dumps(result, allow_nan=False)
    statement = statements.end(all_off())
    with transaction.atomic(), connection.cursor() as cursor:
        row = _one(cursor, statement, (state, reason_word, error, result_text, job_id, attempt))
        if row is None:
            _count(SHARED_SHARD, [(Priority.NORMAL, "commit_refused", 1)])
            return False
        priority, gpu, boot, at, n, job_type, accepts_faults, probability = row
        cursor.execute(statements.RELEASE, (job_id, attempt))
        _event(cursor, job_id, n, kind, at, attempt, gpu=gpu, boot=boot, reason=reason_word, detail=error)
        _count(gpu, _moved(Priority(priority), JobState.RUNNING, state))
        rollup.add(
            cursor,
            *(at, gpu, job_type, priority, kind, reason_word),
            at_risk=accepts_faults and state is not JobState.CANCELLED,
            expected=probability,
        )
    return True


# --- requeue and cancel ---------------------------------------------------------------------------


def requeue(job_id: int, attempt: int, reason: Reason, *, detail: str = "") -> JobState | None:
    """Takes a running job from its worker. None: the attempt is no longer the current one.

    The job waits again, with attempt + 1; or ends: cancelled if that was requested, failed if this charge
    reaches its limit.
    """
    with transaction.atomic():
        job = Job.objects.select_for_update().filter(id=job_id, state=JobState.RUNNING, attempt=attempt).first()
        if job is None:
            return None
        charged = reason in CHARGED_REASONS
        failures = job.failures + charged
        state = _state_after(job, failures if is_on(Remedy.FAILURE_LIMIT) else 0)
        kind = event_for(job_id, JobState.RUNNING, state)
        final_reason = Reason.EXHAUSTED if state is JobState.FAILED else reason
        if state is JobState.QUEUED:
            wait = timedelta(seconds=BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS)) - 1] if charged else 0)
            elsewhere = Now() + wait + timedelta(seconds=ELSEWHERE_SECONDS) if charged else None
            changes: dict[str, Any] = {
                "attempt": F("attempt") + 1,
                "queued_at": Now(),
                "not_before": Now() + wait,
                "elsewhere_until": elsewhere,
            }
        else:
            changes = {"finished_at": Now(), "error": detail or f"{reason.value.replace('_', ' ')}"}
        Job.objects.filter(id=job_id).update(
            state=state, failures=failures, reason=final_reason, event_count=F("event_count") + 1, **changes
        )
        Allocation.objects.filter(job_id=job_id, attempt=attempt).delete()
        _append(job, kind, reason=final_reason, charged=charged, detail=detail or reason.value.replace("_", " "))
        _count(SHARED_SHARD, _moved(Priority(job.priority), JobState.RUNNING, state))
        if charged or state is not JobState.QUEUED:
            _roll_up_taken(job, kind, reason)
    return state


def _roll_up_taken(job: Job, kind: EventKind, reason: Reason) -> None:
    """With the cause, not `exhausted`: that only says that it was not the first."""
    with connection.cursor() as cursor:
        rollup.add(
            cursor,
            *(database_now(), job.gpu, job.type, job.priority, kind, reason),
            at_risk=job.accepts_faults and kind is not EventKind.CANCELLED,
            expected=job.fault_probability,
        )


def _state_after(job: Job, failures: int) -> JobState:
    if job.cancel_requested:
        return JobState.CANCELLED
    return JobState.FAILED if failures >= job.max_failures else JobState.QUEUED


def cancel(job_id: int, *, actor: str) -> CancelOutcome:
    """A waiting job ends at once; a running one is marked, and its worker kills it. Job.DoesNotExist if unknown."""
    with transaction.atomic():
        job = Job.objects.select_for_update().get(id=job_id)
        state = JobState(job.state)
        if state is JobState.QUEUED:
            Job.objects.filter(id=job_id).update(
                state=JobState.CANCELLED,
                cancel_requested=True,
                reason=Reason.CANCEL,
                finished_at=Now(),
                event_count=F("event_count") + 1,
            )
            _append(job, event_for(job_id, state, JobState.CANCELLED), reason=Reason.CANCEL, detail=f"by {actor}")
            _count(SHARED_SHARD, _moved(Priority(job.priority), state, JobState.CANCELLED))
            with connection.cursor() as cursor:
                rollup.add(cursor, database_now(), None, job.type, job.priority, EventKind.CANCELLED, Reason.CANCEL)
            return CancelOutcome.CANCELLED
        if state is not JobState.RUNNING:
            return CancelOutcome.ALREADY_ENDED
        if not job.cancel_requested:
            Job.objects.filter(id=job_id).update(cancel_requested=True, event_count=F("event_count") + 1)
            _append(job, EventKind.CANCEL_REQUESTED, reason=Reason.CANCEL, detail=f"by {actor}")
        return CancelOutcome.REQUESTED


def release_gpu(gpu: int, *, boot: str) -> list[int]:
    """At a worker's boot: what an older boot left on this GPU goes back to the queue. Gives the jobs' ids."""
    left = Job.objects.running().filter(gpu=gpu).exclude(boot=boot).values_list("id", "attempt")
    return [
        job_id
        for job_id, attempt in list(left)
        if requeue(job_id, attempt, Reason.WORKER_RESTARTED, detail=f"GPU {gpu} has a new worker") is not None
    ]


# --- parts ----------------------------------------------------------------------------------------


def database_now() -> datetime:
    """The one clock for times that machines compare."""
    with connection.cursor() as cursor:
        (now,) = _one(cursor, "SELECT {now}", ()) or (None,)
    found = datetime.fromisoformat(f"{now}+00:00") if isinstance(now, str) else now
    if not isinstance(found, datetime):
        raise DatabaseError("the database does not tell the time")
    return found


def _take_ids(count: int) -> int:
    """The first of `count` consecutive ids."""
    with connection.cursor() as cursor:
        (last,) = _one(cursor, statements.TAKE_IDS, (count,)) or (0,)
    return int(last) - count + 1


def _one(cursor: Any, statement: str, params: Sequence[Any]) -> tuple[Any, ...] | None:
    cursor.execute(statements.for_vendor(statement, connection.vendor), params)
    row: tuple[Any, ...] | None = cursor.fetchone()
    return row


def _event(
    cursor: Any,
    job_id: int,
    n: int,
    kind: EventKind,
    at: Any,
    attempt: int,
    *,
    gpu: int | None,
    boot: str,
    reason: str = "",
    detail: str = "",
) -> None:
    cursor.execute(statements.EVENT, (job_id, n, kind, at, attempt, gpu, boot, reason, False, detail))


def _append(job: Job, kind: EventKind, *, reason: Reason, charged: bool = False, detail: str = "") -> None:
    JobEvent.objects.create(
        job=job,
        n=job.event_count + 1,
        kind=kind,
        at=Now(),
        attempt=job.attempt,
        gpu=job.gpu if job.state == JobState.RUNNING else None,
        boot=job.boot if job.state == JobState.RUNNING else "",
        reason=reason,
        charged=charged,
        detail=detail[:ERROR_LENGTH],
    )


def _moved(priority: Priority, old: JobState, new: JobState) -> list[tuple[Priority, str, int]]:
    return [(priority, old, -1), (priority, new, 1)]


def _count(shard: int, changes: Iterable[tuple[Priority, str, int]]) -> None:
    # Sorted, so that two transactions never take the same rows in opposite order.
    rows = sorted((shard, str(priority), str(word), n) for priority, word, n in changes)
    with connection.cursor() as cursor:
        cursor.execute(statements.tally(len(rows)), [value for row in rows for value in row])
