"""Builds the snapshot that the page shows. Pure: values in, a dict out."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from cluster_dashboard.live.read import DatabaseView, RedisView
from cluster_dashboard.live.window import SeriesPoint, Span, Window, mean
from scheduler.jobs.room import Room, shortage_in
from scheduler.loops.samples import NO_SAMPLE, LiveSample
from scheduler.models import ClusterEvent, Gpu, Job
from scheduler.rules.gpu import UNKNOWN_SAMPLE, GpuState, shown_state
from scheduler.rules.moments import age
from scheduler.rules.placement import is_hot, temperature_limit_c
from scheduler.rules.states import PRIORITY_ORDER, EventKind, JobState

#: Of the messages to the page; raised when their form changes, so that an older page asks to be reloaded.
VERSION: Final = 3
SPANS_EACH: Final = 8
#: An older sample is not shown: the values are unknown.
SAMPLE_AGE_MAXIMUM_SECONDS: Final = 5.0


def build_snapshot(seq: int, database: DatabaseView, redis: RedisView, window: Window) -> dict[str, Any]:
    spans = window.newest_spans(SPANS_EACH)
    gpus = [_gpu(gpu, database, redis, spans.get(gpu.index, [])) for gpu in database.gpus]
    control = database.control
    kpi = {**_gpu_kpi(gpus), **window.rates(), **window.last_hour()}
    return {
        "type": "snapshot",
        "version": VERSION,
        "seq": seq,
        "at": database.now,
        "gpus": gpus,
        "queues": {
            priority.value: {
                "waiting": database.waiting.get(priority, 0),
                "oldest_s": database.oldest.get(priority),
                "in_redis": redis.in_redis[priority],
            }
            for priority in PRIORITY_ORDER
        },
        "dead_letters": None if redis.dead_letters is None else redis.dead_letters.kept,
        "counts": {
            "submitted": database.counts[EventKind.SUBMITTED],
            **{state.value: database.counts[state] for state in JobState},
        },
        "control": {
            "rate_per_minute": control.rate_per_minute,
            "preset": control.preset,
            "paused": control.paused,
        },
        "no_room": _no_room(replace(database.room, broker_share=redis.broker_share)),
        "kpi": kpi,
        "point": asdict(_point(database, kpi, window)),
        "next": [_waiting(job, database.now) for job in database.next_jobs],
        "recent": [_ended(job) for job in database.recent],
        "events": [_event(event) for event in database.cluster_events],
    }


def _point(database: DatabaseView, kpi: dict[str, Any], window: Window) -> SeriesPoint:
    """What this snapshot adds to the page's series."""
    return SeriesPoint(
        t=database.now,
        **window.rates(),
        utilization_percent=kpi["utilization_percent"],
        power_w=kpi["power_w"],
        queued=database.counts[JobState.QUEUED],
        failed_percent=kpi["failed_percent"],
    )


def _no_room(room: Room) -> dict[str, str] | None:
    """Why new jobs are refused now; None: they are accepted."""
    shortage = shortage_in(room)
    return None if shortage is None else {"reason": shortage.lack.value, "words": shortage.words}


def _gpu(gpu: Gpu, database: DatabaseView, redis: RedisView, spans: list[Span]) -> dict[str, Any]:
    job = database.running.get(gpu.index)
    return {
        "index": gpu.index,
        "worker": f"gpu-{gpu.index}",
        "job": None if job is None else _running(job, redis.samples.get(gpu.index, NO_SAMPLE)),
        "memory_total_mib": gpu.memory_total_mib,
        "power_limit_w": gpu.power_limit_w,
        "failure_rate": gpu.failure_rate,
        "spans": spans,
        **asdict(gpu_now(gpu, redis, busy=job is not None)),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuNow:
    """A GPU as its worker reports it now, and the state that follows. None: unknown."""

    state: GpuState
    note: str
    heartbeat_age_s: float | None
    utilization_percent: float | None
    memory_used_mib: int | None
    temperature_c: float | None
    #: Above it the GPU takes no job.
    temperature_limit_c: float | None
    power_w: float | None
    sm_clock_mhz: float | None
    last_xid: int | None


def gpu_now(gpu: Gpu, redis: RedisView, *, busy: bool) -> GpuNow:
    """The same for the page, the API and the metrics."""
    beat, live = redis.beats.get(gpu.index), redis.samples.get(gpu.index, NO_SAMPLE)
    sample_age = age(redis.now, live.at)
    is_new = sample_age is not None and sample_age <= SAMPLE_AGE_MAXIMUM_SECONDS
    sample = live.sample if is_new else UNKNOWN_SAMPLE
    beat_age = None if beat is None else age(redis.now, beat.at)
    alive = beat is not None and beat.is_recent(redis.now)
    return GpuNow(
        state=shown_state(
            health=sample.health,
            drained=gpu.drained,
            quarantined=gpu.quarantined,
            hot=is_hot(sample),
            busy=busy,
            alive=alive,
        ),
        note=beat.note if beat is not None and alive else "",
        heartbeat_age_s=None if beat_age is None else round(beat_age, 1),
        utilization_percent=sample.utilization_percent,
        memory_used_mib=sample.memory_used_mib,
        temperature_c=sample.temperature_c,
        temperature_limit_c=temperature_limit_c(sample) if is_new else None,
        power_w=sample.power_w,
        sm_clock_mhz=sample.sm_clock_mhz,
        last_xid=sample.last_xid,
    )


def _gpu_kpi(gpus: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "utilization_percent": mean(gpu["utilization_percent"] for gpu in gpus),
        "busy": sum(gpu["job"] is not None for gpu in gpus),
        "power_w": _sum([gpu["power_w"] for gpu in gpus]),
        "power_limit_w": _sum([gpu["power_limit_w"] for gpu in gpus]),
    }


def _sum(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _running(job: Job, live: LiveSample) -> dict[str, Any]:
    return {
        **_job(job),
        "attempt": job.attempt,
        "started_at": None if job.started_at is None else job.started_at.timestamp(),
        "progress": live.progress_of(job.id, job.attempt),
    }


def _waiting(job: Job, now: float) -> dict[str, Any]:
    return {**_job(job), "waiting_s": max(0.0, now - job.queued_at.timestamp())}


def _ended(job: Job) -> dict[str, Any]:
    ran = None
    if job.started_at is not None and job.finished_at is not None:
        ran = (job.finished_at - job.started_at).total_seconds()
    waited = None if job.started_at is None else max(0.0, (job.started_at - job.queued_at).total_seconds())
    return {
        **_job(job),
        "gpu": job.gpu,
        "attempt": job.attempt,
        "state": job.state,
        "reason": job.reason,
        "waited_s": waited,
        "ran_s": ran,
        "finished_at": None if job.finished_at is None else job.finished_at.timestamp(),
    }


def _job(job: Job) -> dict[str, Any]:
    return {"id": job.id, "name": job.name, "type": job.type, "priority": job.priority}


def _event(event: ClusterEvent) -> dict[str, Any]:
    return {
        "id": event.id,
        "at": event.at.timestamp(),
        "kind": event.kind,
        "gpu": event.gpu,
        "message": event.message,
    }
