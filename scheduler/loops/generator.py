"""Submits the jobs that are due: reads its position, draws the arrivals, submits them. One tick a second."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import cache
from math import isfinite
from typing import Final

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now
from redis import Redis

from scheduler.arrivals.shape import Arrival, Position
from scheduler.broker.hints import SubmittedJob
from scheduler.catalogue import catalogue
from scheduler.database_errors import NeverStored, is_unavailable
from scheduler.jobs.admission import job_request, largest_gpu_mib
from scheduler.jobs.clock import database_now
from scheduler.jobs.room import NoRoom, Shortage, broker_share, check_room
from scheduler.jobs.submit import ROWS_PER_TRANSACTION, JobRequest, submit
from scheduler.logs import event_logger
from scheduler.loops.skipped_arrivals import skip
from scheduler.models import ClusterEvent, Control
from scheduler.rules.states import Source
from scheduler.workloads.jobmix import DrawnJob
from scheduler.workloads.read import read_workload
from scheduler.workloads.workload import Workload, check_types

log = event_logger(__name__)

#: Room is checked for one job: what a tick submits is little beside what is kept free.
ROOM_FOR: Final = 1

#: The fields of Control that hold the position.
POSITION_FIELDS: Final = {
    "draws": "arrivals",
    "next_at": "next_arrival_at",
    "rate_per_minute": "next_arrival_rate",
    "row": "trace_row",
    "wait": "trace_wait",
}


@cache
def workload() -> Workload:
    """From settings.GENERATOR_CONFIG, loaded once a process. Raises WorkloadInvalid."""
    found = read_workload(settings.GENERATOR_CONFIG, settings.BASE_DIR)
    check_types(found, catalogue())
    return found


def tick(now: datetime | None = None, *, client: Redis | None = None) -> list[SubmittedJob]:
    """Submits what has arrived up to `now` (the database's time) and returns the jobs.

    client: receives their hints; None leaves them to the relay.

    Idempotent for its time slot: the position moves on in the transaction that inserts the jobs, so a second
    beat, or a tick delivered twice, finds nothing left to do.
    """
    submitted: list[SubmittedJob] = []
    now = now or database_now()
    shortage = _shortage()
    while True:
        _log_once(shortage)
        try:
            with transaction.atomic():
                made, arrived = _tick_once(now, workload(), client, refused=shortage is not None)
        except NoRoom as error:
            # What this tick has submitted so far was the last that fitted.
            shortage = error.shortage
            continue
        submitted += made
        if arrived < ROWS_PER_TRANSACTION:
            return submitted


def _shortage() -> Shortage | None:
    try:
        check_room(ROOM_FOR, broker_share())
    except NoRoom as error:
        return error.shortage
    return None


class _Logged:
    """The shortage that was logged last, so that each is logged once."""

    shortage: Shortage | None = None


def _log_once(shortage: Shortage | None) -> None:
    if (shortage and shortage.lack) == (_Logged.shortage and _Logged.shortage.lack):
        return
    _Logged.shortage = shortage
    if shortage is None:
        words = "There is room again: the generator submits jobs"
        log.info("generation_resumed")
    else:
        words = f"The generator submits no jobs. {shortage.words}"
        log.warning("generation_stopped", reason=shortage.lack, words=shortage.words)
    ClusterEvent.objects.create(kind="generator", message=words[:300])


def _tick_once(now: datetime, load: Workload, client: Redis | None, *, refused: bool) -> tuple[list[SubmittedJob], int]:
    """One transaction of at most ROWS_PER_TRANSACTION arrivals, and the position after them. Returns the jobs
    submitted and the number of arrivals.

    refused: no job arrives, and none is made up for later, as during a pause.
    """
    control = Control.objects.select_for_update().first()
    if control is None:
        return [], 0
    position = _position(control, load)
    if control.paused or refused:
        _keep(control, load, load.shape.paused(now, position))
        return [], 0
    due = load.shape.due(
        now, position, seed=control.seed, rate_per_minute=control.rate_per_minute, at_most=ROWS_PER_TRANSACTION
    )
    _keep(control, load, due.position)
    if due.ended:
        ClusterEvent.objects.create(kind="generator", message=f"The trace has ended: {load.name}"[:300])
    requests = _that_fit(_requests(load, control.seed, due.arrivals))
    return _submit(requests, client), len(due.arrivals)


def _requests(load: Workload, seed: int, arrivals: Iterable[Arrival]) -> list[JobRequest]:
    """Without the arrivals that cannot be made into a job."""
    made = []
    for arrival in arrivals:
        job_type = "unknown"
        try:
            drawn = load.job(seed, arrival)
            job_type = drawn.type
            made.append(_request(drawn))
        except Exception as error:  # noqa: BLE001 (a job type is its author's code; one that raises must not stop all others)
            skip(job_type, error)
    return made


def _submit(requests: list[JobRequest], client: Redis | None) -> list[SubmittedJob]:
    """All at once; if the database can never store one of them, each in its own savepoint."""
    share = broker_share()
    try:
        return submit(requests, client=client, broker_share=share, room_for=ROOM_FOR)
    except NeverStored as error:
        if is_unavailable(error) or not requests:
            raise
    made: list[SubmittedJob] = []
    for request in requests:
        try:
            made += submit([request], client=client, broker_share=share, room_for=ROOM_FOR)
        except NeverStored as error:
            if is_unavailable(error):
                raise
            skip(request.type, error)
    return made


def _that_fit(requests: list[JobRequest]) -> list[JobRequest]:
    """Without the jobs that no GPU of this cluster has the memory for. Recorded as an event once an hour."""
    largest_mib = largest_gpu_mib() if requests else None
    fitting = [request for request in requests if largest_mib is None or request.gpu_memory_mib <= largest_mib]
    recorded = ClusterEvent.objects.filter(kind="too_large", at__gte=Now() - timedelta(hours=1))
    if len(fitting) < len(requests) and not recorded.exists():
        words = f"Generated jobs that need more than the {largest_mib} MiB of the largest GPU are not submitted"
        ClusterEvent.objects.create(kind="too_large", message=words)
    return fitting


def _position(control: Control, load: Workload) -> Position:
    """A position of other arrivals is not used: the new ones start from their beginning."""
    if control.workload not in {"", load.fingerprint}:
        return Position(draws=control.arrivals)
    return Position(**{name: getattr(control, field) for name, field in POSITION_FIELDS.items()})


def _keep(control: Control, load: Workload, position: Position) -> None:
    """Writes the fields that have changed; at a slow rate most ticks change none."""
    after = {field: getattr(position, name) for name, field in POSITION_FIELDS.items()}
    after["workload"] = load.fingerprint
    changed = [field for field, value in after.items() if getattr(control, field) != value]
    for field in changed:
        setattr(control, field, after[field])
    if changed:
        control.save(update_fields=changed)


def move_position(seconds: float) -> None:
    """The clock was set by so many seconds: the pending arrival keeps its distance, so that no load is made up for, and
    none is missing."""
    control = Control.objects.select_for_update().first()
    if control is not None and control.next_arrival_at is not None:
        control.next_arrival_at += timedelta(seconds=seconds)
        control.save(update_fields=["next_arrival_at"])


def _request(drawn: DrawnJob) -> JobRequest:
    """Raises whatever the job type raises, and TypeError or ValueError for values that no job can have."""
    request = job_request(
        type=drawn.type,
        priority=drawn.priority,
        params=drawn.params,
        source=Source.GENERATOR,
        time_limit_seconds=None,  # by the type's cost model: a trace has jobs above the default limit
    )
    if not isinstance(request.gpu_memory_mib, int) or request.gpu_memory_mib < 0:
        raise TypeError(f"gpu_memory_mib returned {request.gpu_memory_mib!r:.60}; expected: a whole number, 0 or more")
    if not isinstance(request.load, int | float) or not isfinite(request.load):
        raise TypeError(f"load returned {request.load!r:.60}; expected: a share, 0.0 to 1.0")
    return request
