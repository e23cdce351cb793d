"""One job as the API shows it: its row, its events and its progress."""

from __future__ import annotations

from django.utils import timezone
from redis.exceptions import RedisError

from cluster_dashboard.api.broker import client
from cluster_dashboard.api.schemas import JobDetail
from scheduler.jobs.why_waiting import why_waiting
from scheduler.logs import event_logger
from scheduler.loops.heartbeats import closed_gpus
from scheduler.loops.samples import read_sample
from scheduler.models import Job
from scheduler.rules.states import JobState
from scheduler.storable import storable_json

log = event_logger(__name__)


def read_job(job_id: int) -> JobDetail | None:
    """None: there is no such job."""
    job = Job.objects.prefetch_related("events").filter(id=job_id).first()
    if job is None:
        return None
    # A row of an older version may hold half a surrogate pair, which no stream can.
    job.result = storable_json(job.result)
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
    return why_waiting(job, _closed_gpus()) if job.state == JobState.QUEUED else ""


def _closed_gpus() -> dict[int, str]:
    """Empty while the broker is unavailable: it is unknown then."""
    try:
        return closed_gpus(client())
    except (RedisError, OSError) as error:
        log.info("broker_unreachable", component="api_waiting", error=f"{type(error).__name__}: {error}")
        return {}
