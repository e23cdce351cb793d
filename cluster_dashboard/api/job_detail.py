"""One job as the API shows it: the row, its story, and how far it has come."""

from __future__ import annotations

import json
from typing import Any

from django.utils import timezone
from redis.exceptions import RedisError

from cluster_dashboard.api.broker import client
from cluster_dashboard.api.schemas import JobDetail
from gpu_tasks.worker.heartbeat import samples_key
from scheduler.logs import event_logger
from scheduler.loops.heartbeats import SILENCE_SECONDS, read_beats
from scheduler.models import Gpu, Job
from scheduler.rules.gpu import Place, waits_because
from scheduler.rules.states import JobState

log = event_logger(__name__)


def read_job(job_id: int) -> JobDetail | None:
    """None: there is no such job."""
    job = Job.objects.prefetch_related("events").filter(id=job_id).first()
    if job is None:
        return None
    job.at, job.progress, job.waits_because = timezone.now(), _progress(job), _waits_because(job)
    return JobDetail.from_orm(job)


def _progress(job: Job) -> float | None:
    if job.state != JobState.RUNNING:
        return None
    try:
        sample = client().hget(samples_key(), str(job.gpu))
    except (RedisError, OSError) as error:
        log.info("progress_not_read", job=job.id, error=f"{type(error).__name__}: {error}")
        return None
    return None if sample is None else progress_in(json.loads(sample), job.id, job.attempt)


def _waits_because(job: Job) -> str:
    if job.state != JobState.QUEUED:
        return ""
    silent = _silent_gpus()
    places = [
        Place(
            gpu=gpu.index,
            memory_total_mib=gpu.memory_total_mib,
            takes_jobs=not (gpu.drained or gpu.quarantined or gpu.index in silent),
        )
        for gpu in Gpu.objects.all()
    ]
    return waits_because(job.gpu_memory_mib, places)


def _silent_gpus() -> set[int]:
    """Whose worker has not been heard of for too long; none while the broker is away, since nobody knows then."""
    try:
        (seconds, _), beats = client().time(), read_beats(client())
    except (RedisError, OSError):
        return set()
    return {gpu for gpu, beat in beats.items() if seconds - beat.at >= SILENCE_SECONDS}


def progress_in(sample: dict[str, Any], job_id: int, attempt: int) -> float | None:
    """The progress in a GPU's sample, if it is this job's."""
    progress = sample.get("progress")
    is_its = sample.get("held") == [job_id, attempt]
    return float(progress) if is_its and progress is not None else None
