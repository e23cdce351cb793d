"""New jobs. Every component that submits jobs calls `submit`: it checks room and names, inserts rows, sends hints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import batched
from typing import Any, Final, Protocol

from django.db import IntegrityError, connection, transaction
from redis import Redis

from scheduler.broker import hints
from scheduler.broker.hints import SubmittedJob
from scheduler.job_type import ParamsInvalid
from scheduler.jobs import statements, tally
from scheduler.jobs.clock import database_now
from scheduler.jobs.room import check_room
from scheduler.models import Control, Job, JobEvent
from scheduler.rules.job_limits import FAILURE_LIMIT, TIME_LIMIT_SECONDS
from scheduler.rules.naming import OWNER_LENGTH, job_name
from scheduler.rules.states import EventKind, JobState, Priority, Source

#: Jobs a transaction: the longest write transaction sets the p99 of all writers (250 rows take 56 ms on SQLite).
ROWS_PER_TRANSACTION: Final = 250


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """A job that was checked (scheduler.jobs.admission) and may be submitted."""

    type: str
    priority: Priority
    params: dict[str, Any]
    source: Source
    #: Who submits it; empty: the generator.
    owner: str = ""
    gpu_memory_mib: int
    load: float
    name: str | None = None
    time_limit_seconds: int = TIME_LIMIT_SECONDS
    max_failures: int = FAILURE_LIMIT
    accepts_faults: bool = False


class NameTaken(ParamsInvalid):
    """`index`: the position of the job in the requests."""

    def __init__(self, index: int, message: str) -> None:
        super().__init__("name", message)
        self.index = index


class Note(Protocol):
    """A caller's record of its submission, kept in the transactions that insert the jobs.

    last: whether these jobs are the last ones of the submission.
    """

    def note(self, ids: list[int], *, last: bool) -> None:
        """Called inside the transaction; an exception undoes the transaction and ends the submission."""

    def noted(self, ids: list[int], *, last: bool) -> None:
        """Called after the commit."""


def submit(
    requests: Sequence[JobRequest],
    *,
    client: Redis | None,
    broker_share: float | None,
    room_for: int | None = None,
    note: Note | None = None,
    accepted: list[SubmittedJob] | None = None,
) -> list[SubmittedJob]:
    """Inserts the jobs with their first events, at most ROWS_PER_TRANSACTION a transaction, and returns them.

    client: receives the hints after commit, best effort and without waiting; None leaves them to the relay.
    broker_share: share of the broker's maxmemory in use (scheduler.jobs.room); None: not known, not checked.
    room_for: check the room for this number of jobs; None: for all of them.
    accepted: a list that grows with each commit, so that a caller can report what is in if an exception ends the call.

    Raises NoRoom or NameTaken before the first transaction; NameTaken also later, if somebody else took a name
    meanwhile. Jobs of earlier transactions stay, and their hints are sent.
    """
    accepted = [] if accepted is None else accepted
    if not requests:
        return accepted
    check_room(len(requests) if room_for is None else room_for, broker_share)
    _refuse_names_given_twice(requests)
    _refuse_taken_names(requests)
    seed = Control.objects.values_list("seed", flat=True).get()
    try:
        for start in range(0, len(requests), ROWS_PER_TRANSACTION):
            accepted += _submit_chunk(requests, start, name_seed=seed, note=note)
    finally:
        if client is not None:
            _after_commit(accepted, client)
    return accepted


def insert(requests: Sequence[JobRequest], *, name_seed: int) -> list[SubmittedJob]:
    """The rows of at most ROWS_PER_TRANSACTION jobs, in the caller's transaction and without any check."""
    first_id = _take_ids(len(requests))
    now = database_now()
    jobs = [_new_job(first_id + i, request, now, name_seed) for i, request in enumerate(requests)]
    _keep_clear_of_given_names(jobs, requests)
    Job.objects.bulk_create(jobs)
    JobEvent.objects.bulk_create(
        JobEvent(job_id=job.id, n=1, kind=EventKind.SUBMITTED, at=now, attempt=1) for job in jobs
    )
    counts = Counter(request.priority for request in requests)
    words = (JobState.QUEUED, EventKind.SUBMITTED)
    tally.count(tally.SHARED_SHARD, ((priority, word, n) for priority, n in counts.items() for word in words))
    return [
        SubmittedJob(id=job.id, type=job.type, priority=Priority(job.priority), gpu_memory_mib=job.gpu_memory_mib)
        for job in jobs
    ]


def _submit_chunk(
    requests: Sequence[JobRequest], start: int, *, name_seed: int, note: Note | None
) -> list[SubmittedJob]:
    """One transaction: the jobs from `start` on."""
    chunk = requests[start : start + ROWS_PER_TRANSACTION]
    last = start + len(chunk) == len(requests)
    try:
        with transaction.atomic():
            jobs = insert(chunk, name_seed=name_seed)
            ids = [job.id for job in jobs]
            if note is not None:
                note.note(ids, last=last)
    except IntegrityError:
        _refuse_taken_names(chunk, start)
        raise
    if note is not None:
        note.noted(ids, last=last)
    return jobs


def _after_commit(jobs: Sequence[SubmittedJob], client: Redis) -> None:
    if connection.in_atomic_block:
        transaction.on_commit(partial(hints.send_soon, jobs, client))
    else:
        # Without on_commit, which connects: the database may just have become unavailable.
        hints.send_soon(jobs, client)


# --- names ----------------------------------------------------------------------------------------


def _refuse_names_given_twice(requests: Iterable[JobRequest]) -> None:
    names: set[str] = set()
    for index, request in enumerate(requests):
        if request.name is None:
            continue
        if request.name in names:
            raise NameTaken(index, f"{request.name!r} is given to two jobs; names are unique")
        names.add(request.name)


def _refuse_taken_names(requests: Iterable[JobRequest], start: int = 0) -> None:
    """start: the index of the first request."""
    index_of = {request.name: index for index, request in enumerate(requests, start) if request.name is not None}
    for some in batched(index_of, ROWS_PER_TRANSACTION):
        taken = Job.objects.filter(name__in=some).values_list("name", flat=True).first()
        if taken is not None:
            raise NameTaken(index_of[taken], f"{taken!r} is taken; names are unique") from None


def _keep_clear_of_given_names(jobs: Sequence[Job], requests: Sequence[JobRequest]) -> None:
    """A generated name that a user has already given gets a suffix: the generator must not fail at it for ever."""
    generated = {job.name: job for job, request in zip(jobs, requests, strict=True) if not request.name}
    for name in Job.objects.filter(name__in=list(generated)).values_list("name", flat=True):
        generated[name].name = f"{name}.{generated[name].id}"


# --- rows -----------------------------------------------------------------------------------------


def _new_job(job_id: int, request: JobRequest, now: datetime, name_seed: int) -> Job:
    return Job(
        id=job_id,
        name=request.name or job_name(job_id, request.type, request.priority, name_seed),
        type=request.type,
        priority=request.priority,
        source=request.source,
        owner=request.owner[:OWNER_LENGTH],
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


def _take_ids(count: int) -> int:
    """The first of `count` consecutive ids."""
    with connection.cursor() as cursor:
        (last,) = statements.one_row(cursor, statements.TAKE_IDS, {"count": count}) or (0,)
    return int(last) - count + 1
