"""What the live view reads from the database and from Redis. No decisions here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.db.models import Count, Max, Min
from django.db.models.functions import Now, TruncMinute
from redis import Redis

from scheduler.broker import dead_letters, hints
from scheduler.jobs.clock import database_now
from scheduler.jobs.room import Room, look, read_broker_share
from scheduler.loops.heartbeats import Beat, read_beats
from scheduler.loops.samples import LiveSample, read_samples
from scheduler.models import ClusterEvent, Control, Gpu, Job, JobEvent, Tally
from scheduler.rules.states import PRIORITY_ORDER, EventKind, JobState, Priority

#: Event ids commit out of order, so each read includes this number of older ids.
OVERLAP: Final = 200
#: The maximum number of events read in one tick; above it the lanes show only some jobs, the counts stay exact.
EVENTS_MAXIMUM: Final = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """One job event with what the page shows of its job."""

    id: int
    kind: EventKind
    at: float
    job_id: int
    name: str
    type: str
    priority: str
    attempt: int
    gpu: int | None
    reason: str
    submitted_at: float
    queued_at: float
    started_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseView:
    now: float
    events: list[Happened]
    counts: dict[str, int]
    waiting: dict[Priority, int]
    oldest: dict[Priority, float]
    control: Control
    gpus: list[Gpu]
    running: dict[int, Job]
    next_jobs: list[Job]
    recent: list[Job]
    cluster_events: list[ClusterEvent]
    room: Room


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisView:
    now: float
    beats: dict[int, Beat]
    samples: dict[int, LiveSample]
    in_redis: dict[Priority, int]
    #: The share of its maxmemory in use; None: it has no limit.
    broker_share: float | None = None
    dead_letters: dead_letters.Counts | None = None


def read_redis(client: Redis) -> RedisView:
    seconds, micros = client.time()
    return RedisView(
        now=seconds + micros / 1e6,
        beats=read_beats(client),
        samples=read_samples(client),
        in_redis=hints.lengths(client),
        broker_share=read_broker_share(client),
        dead_letters=dead_letters.count(client),
    )


def read_database(after_event: int) -> DatabaseView:
    """after_event: the newest event id that was read before; the OVERLAP before it is read again."""
    now = database_now()
    return DatabaseView(
        now=now.timestamp(),
        events=read_events(after_event - OVERLAP),
        counts={word: Tally.objects.total(word) for word in (EventKind.SUBMITTED, *JobState)},
        waiting={Priority(key): n for key, n in Tally.objects.by_priority(JobState.QUEUED).items()},
        oldest=oldest_waiting(now),
        control=Control.objects.get(),
        gpus=list(Gpu.objects.all()),
        running={job.gpu: job for job in Job.objects.running() if job.gpu is not None},
        next_jobs=_next_jobs(6),
        recent=list(Job.objects.filter(finished_at__isnull=False).order_by("-finished_at")[:12]),
        cluster_events=list(ClusterEvent.objects.order_by("-id")[:20]),
        room=look(),
    )


def read_events(after: int) -> list[Happened]:
    rows = (
        JobEvent.objects.filter(id__gt=after)
        .exclude(kind__in=(EventKind.CANCEL_REQUESTED,))
        .order_by("-id")
        .values_list(
            "id",
            "kind",
            "at",
            "job_id",
            "job__name",
            "job__type",
            "job__priority",
            "attempt",
            "gpu",
            "reason",
            "job__submitted_at",
            "job__queued_at",
            "job__started_at",
        )[:EVENTS_MAXIMUM]
    )
    return [_happened(row) for row in reversed(rows)]


def event_before(seconds: float) -> int:
    """The newest event id older than `seconds`; 0 if there is none."""
    newest = JobEvent.objects.aggregate(newest=Max("id"))["newest"] or 0
    first = JobEvent.objects.filter(
        id__gt=newest - EVENTS_MAXIMUM, at__gte=Now() - timedelta(seconds=seconds)
    ).aggregate(first=Min("id"))["first"]
    return newest if first is None else first - 1


def outcomes_by_minute(*, before: float) -> list[tuple[float, str, str, int]]:
    """(start of the minute, state, reason, number of jobs) of the hour that ends at `before`."""
    until = datetime.fromtimestamp(before, UTC)
    rows = (
        Job.objects.filter(finished_at__gte=until - timedelta(hours=1), finished_at__lt=until)
        .annotate(minute=TruncMinute("finished_at"))
        .order_by()
        .values_list("minute", "state", "reason")
        .annotate(n=Count("id"))
    )
    return [(minute.timestamp(), state, reason, n) for minute, state, reason, n in rows]


def _happened(row: tuple[Any, ...]) -> Happened:
    event_id, kind, at, job_id, name, job_type, priority, attempt, gpu, reason, submitted, queued, started = row
    return Happened(
        id=event_id,
        kind=EventKind(kind),
        at=at.timestamp(),
        job_id=job_id,
        name=name,
        type=job_type,
        priority=priority,
        attempt=attempt,
        gpu=gpu,
        reason=reason,
        submitted_at=submitted.timestamp(),
        queued_at=queued.timestamp(),
        started_at=_timestamp(started),
    )


def oldest_waiting(now: datetime) -> dict[Priority, float]:
    """The wait of the oldest queued job of each priority, in seconds."""
    found = {
        priority: Job.objects.queued().filter(priority=priority).order_by("id").values_list("queued_at", flat=True)
        for priority in PRIORITY_ORDER
    }
    firsts = {priority: rows.first() for priority, rows in found.items()}
    return {priority: (now - at).total_seconds() for priority, at in firsts.items() if at is not None}


def _next_jobs(limit: int) -> list[Job]:
    """In the order in which they will start."""
    found: list[Job] = []
    for priority in PRIORITY_ORDER:
        if len(found) < limit:
            found += Job.objects.due().filter(priority=priority).order_by("id")[: limit - len(found)]
    return found


def _timestamp(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()
