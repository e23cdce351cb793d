"""One job as the API shows it: its row, its events and its progress."""

from __future__ import annotations

from django.utils import timezone
from redis.exceptions import RedisError

from cluster_dashboard.api.broker import client
from cluster_dashboard.api.schemas import JobDetail
from scheduler.logs import event_logger
from scheduler.loops.heartbeats import SILENCE_SECONDS, read_beats
from scheduler.loops.samples import read_sample
from scheduler.models import Gpu, Job
from scheduler.rules.placement import Place
from scheduler.rules.states import JobState
from scheduler.rules.waiting import waits_because

log = event_logger(__name__)


def read_job(job_id: int) -> JobDetail | None:
    """None: there is no such job."""
    job = Job.objects.prefetch_related("events").filter(id=job_id).first()
    if job is None:
        return None
    # Read by JobDetail beside the columns of the row.
    vars(job).update(at=timezone.now(), progress=_progress(job), waits_because=_waits_because(job))
    return JobDetail.from_orm(job)


def _progress(job: Job) -> float | None:
    if job.state != JobState.RUNNING or job.gpu is None:
        return None
    try:
        return read_sample(client(), job.gpu).progress_of(job.id, job.attempt)
    except (RedisError, OSError) as error:
        log.info("broker_unreachable", component="api_progress", job=job.id, error=f"{type(error).__name__}: {error}")
        return None


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
    """GPUs whose workers have been silent for too long; none while the broker is unavailable: it is unknown then."""
    try:
        (seconds, _), beats = client().time(), read_beats(client())
    except (RedisError, OSError):
        return set()
    return {gpu for gpu, beat in beats.items() if seconds - beat.at >= SILENCE_SECONDS}
