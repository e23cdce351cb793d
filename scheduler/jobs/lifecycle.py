"""A job's life after its submission: claim, end, requeue, cancel. The only writer of Job, with scheduler.jobs.submit.

Each move and its event are one transaction, and every write by a worker shows its attempt. A write that comes too
late changes nothing, and its return value reports that: the caller discards its result.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

from django.db import IntegrityError, connection, transaction
from django.db.models import F, Max
from django.db.models.functions import Now

from scheduler.jobs import rollup, statements, tally
from scheduler.jobs.clock import database_now
from scheduler.models import Allocation, Gpu, Job, JobEvent
from scheduler.rules.after_failure import AfterFailure, after_failure
from scheduler.rules.placement import ClaimedJob, ClaimRefusal, claim_refusal, is_current
from scheduler.rules.states import EventKind, JobState, Priority, Reason, Source, event_for

ERROR_LENGTH: Final = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """What the job process needs to run the job that it has claimed."""

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


class CancelOutcome(StrEnum):
    CANCELLED = "cancelled"
    REQUESTED = "requested"
    ALREADY_ENDED = "already_ended"


# --- claim and end: the hot path ------------------------------------------------------------------


def claim(job_id: int, attempt: int, *, gpu: int, boot: str) -> Claimed | ClaimRefusal:
    """queued -> running, for exactly one worker; every other one is refused."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            params = {"job": job_id, "attempt": attempt, "gpu": gpu, "boot": boot}
            row = statements.one_row(cursor, statements.CLAIM, params)
            if row is not None:
                *job, started_at, n = row
                _allocate(cursor, job_id, attempt, gpu)
                _event(cursor, job_id, n, EventKind.STARTED, started_at, attempt, gpu=gpu, boot=boot)
                priority = Priority(job[1])
                moved = tally.moved(priority, JobState.QUEUED, JobState.RUNNING)
                tally.count(gpu, [*moved, (priority, EventKind.STARTED, 1)])
    except _GpuTaken:
        return ClaimRefusal.GPU_BUSY
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


class _GpuTaken(Exception):
    """Two claims for one GPU at the same time: the primary key of Allocation admits one."""


def _allocate(cursor: Any, job_id: int, attempt: int, gpu: int) -> None:
    """Only this statement's conflict is about the GPU: one of an event or a count would last."""
    try:
        cursor.execute(statements.ALLOCATE, {"gpu": gpu, "job": job_id, "attempt": attempt})
    except IntegrityError as error:
        raise _GpuTaken from error


def _why_refused(job_id: int, attempt: int, gpu: int) -> ClaimRefusal:
    columns = ("state", "attempt", "cancel_requested", "not_before", "gpu_memory_mib", "gpu", "elsewhere_until")
    row = Job.objects.filter(id=job_id).values_list(*columns, Now()).first()
    if row is None:
        return ClaimRefusal.STALE
    state, current, cancel_requested, not_before, needed_mib, last_gpu, elsewhere_until, now = row
    job = ClaimedJob(
        state=JobState(state),
        attempt=current,
        cancel_requested=cancel_requested,
        not_before=not_before,
        needed_mib=needed_mib,
        gpu=last_gpu,
        elsewhere_until=elsewhere_until,
    )
    if not is_current(job, attempt, now):
        return ClaimRefusal.STALE
    is_busy, places = Allocation.objects.filter(gpu=gpu).exists(), Gpu.objects.places()
    refusal = claim_refusal(job, attempt, gpu=gpu, is_busy=is_busy, places=places, now=now)
    # None: since the claim, the reason has gone. ELSEWHERE returns the hint to its queue, for any GPU.
    return refusal or ClaimRefusal.ELSEWHERE


def end(
    job_id: int,
    attempt: int,
    state: JobState,
    *,
    reason: Reason | None = None,
    error: str = "",
    result: dict[str, Any] | None = None,
) -> bool:
    """running -> a terminal state, if the attempt is still the current one. False: refused, and counted."""
    kind = event_for(job_id, JobState.RUNNING, state)
    reason_word, error = reason or "", error[:ERROR_LENGTH]
    result_text = None if result is None else json.dumps(result, allow_nan=False)
    params = {"state": state, "reason": reason_word, "error": error, "result": result_text}
    with transaction.atomic(), connection.cursor() as cursor:
        row = statements.one_row(cursor, statements.END, {"job": job_id, "attempt": attempt, **params})
        if row is None:
            tally.count(tally.SHARED_SHARD, [(Priority.NORMAL, "commit_refused", 1)])
            return False
        priority, gpu, boot, at, n, job_type, accepts_faults, probability = row
        cursor.execute(statements.RELEASE, {"job": job_id, "attempt": attempt})
        _event(cursor, job_id, n, kind, at, attempt, gpu=gpu, boot=boot, reason=reason_word, detail=error)
        tally.count(gpu, tally.moved(Priority(priority), JobState.RUNNING, state))
        rollup.add(
            cursor,
            *(at, gpu, job_type, priority, kind, reason_word),
            at_risk=accepts_faults and state is not JobState.CANCELLED,
            expected=probability,
        )
    return True


# --- requeue and cancel ---------------------------------------------------------------------------


def requeue(job_id: int, attempt: int, reason: Reason, *, detail: str = "") -> JobState | None:
    """The attempt of a running job is lost. Returns the job's new state; None if that attempt was not running.

    rules.after_failure decides: the job waits again, with attempt + 1, or it ends.
    """
    with transaction.atomic():
        job = Job.objects.select_for_update().filter(id=job_id, state=JobState.RUNNING, attempt=attempt).first()
        if job is None:
            return None
        after = after_failure(
            reason, failures=job.failures, max_failures=job.max_failures, cancel_requested=job.cancel_requested
        )
        kind = event_for(job_id, JobState.RUNNING, after.state)
        words = detail or reason.value.replace("_", " ")
        Job.objects.filter(id=job_id).update(
            state=after.state,
            failures=after.failures,
            reason=after.reason,
            event_count=F("event_count") + 1,
            **_changes(after, words),
        )
        Allocation.objects.filter(job_id=job_id, attempt=attempt).delete()
        _append(job, kind, reason=after.reason, charged=after.charged, detail=words)
        tally.count(tally.SHARED_SHARD, tally.moved(Priority(job.priority), JobState.RUNNING, after.state))
        if after.charged or after.state is not JobState.QUEUED:
            _roll_up_lost(job, kind, reason)
    return after.state


def _changes(after: AfterFailure, words: str) -> dict[str, Any]:
    if after.state is not JobState.QUEUED:
        return {"finished_at": Now(), "error": words}
    elsewhere = after.elsewhere_seconds
    return {
        "attempt": F("attempt") + 1,
        "queued_at": Now(),
        "not_before": Now() + timedelta(seconds=after.wait_seconds),
        "elsewhere_until": None if elsewhere is None else Now() + timedelta(seconds=elsewhere),
    }


def _roll_up_lost(job: Job, kind: EventKind, reason: Reason) -> None:
    """Under the cause of this loss, not under `exhausted`, which names no cause."""
    with connection.cursor() as cursor:
        rollup.add(
            cursor,
            *(database_now(), job.gpu, job.type, job.priority, kind, reason),
            at_risk=job.accepts_faults and kind is not EventKind.CANCELLED,
            expected=job.fault_probability,
        )


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
            tally.count(tally.SHARED_SHARD, tally.moved(Priority(job.priority), state, JobState.CANCELLED))
            with connection.cursor() as cursor:
                rollup.add(cursor, database_now(), None, job.type, job.priority, EventKind.CANCELLED, Reason.CANCEL)
            return CancelOutcome.CANCELLED
        if state is not JobState.RUNNING:
            return CancelOutcome.ALREADY_ENDED
        if not job.cancel_requested:
            Job.objects.filter(id=job_id).update(cancel_requested=True, event_count=F("event_count") + 1)
            _append(job, EventKind.CANCEL_REQUESTED, reason=Reason.CANCEL, detail=f"by {actor}")
        return CancelOutcome.REQUESTED


def begin_to_wait_now() -> tuple[int, float]:
    """For waiting jobs that began to wait in the future, because the database's clock was set back: they begin now, and
    what is left of a back-off stays. Returns their number, and by how many seconds the latest was ahead."""
    ahead = Job.objects.queued().ahead_of_clock()
    latest, now = ahead.aggregate(latest=Max("queued_at"))["latest"], database_now()
    if latest is None:
        return 0, 0.0
    corrected = ahead.update(
        queued_at=Now(), not_before=Now() + (F("not_before") - F("queued_at")), elsewhere_until=None
    )
    return corrected, (latest - now).total_seconds()


def left_by_older_boots(gpu: int, *, boot: str) -> list[tuple[int, int]]:
    """(job, attempt) that runs on this GPU by its row, under a worker that has ended: the new worker requeues them."""
    return list(Job.objects.running().filter(gpu=gpu).exclude(boot=boot).values_list("id", "attempt"))


# --- parts ----------------------------------------------------------------------------------------


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
    params = {"job": job_id, "n": n, "kind": kind, "at": at, "attempt": attempt, "gpu": gpu, "boot": boot}
    cursor.execute(statements.EVENT, {**params, "reason": reason, "detail": detail})


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
