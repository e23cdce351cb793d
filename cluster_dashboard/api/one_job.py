"""/api/jobs/ID: read a job, wait for its end, follow it, cancel it, run it again."""

from __future__ import annotations

import time
from typing import Annotated, Final

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from ninja import Header, Path, Query, Router
from ninja.responses import Status

from cluster_dashboard.api.follow import story_of
from cluster_dashboard.api.http.open_stream import client_of
from cluster_dashboard.api.http.permissions import CANCEL, READ, SUBMIT, actor_of
from cluster_dashboard.api.http.problems import Problem
from cluster_dashboard.api.job_detail import read_job
from cluster_dashboard.api.schemas import BIGINT_MAXIMUM, Cancelled, JobDetail, Submitted
from cluster_dashboard.api.submission import submit
from cluster_dashboard.places import Places
from scheduler.jobs import lifecycle
from scheduler.jobs.admission import job_request, largest_gpu_mib
from scheduler.jobs.lifecycle import CancelOutcome
from scheduler.models import Job
from scheduler.rules.states import TERMINAL_STATES, Source

router = Router(tags=["jobs"])

JobId = Annotated[int, Path(ge=1, le=BIGINT_MAXIMUM)]

WAIT_MAXIMUM_SECONDS: Final = 60
WAIT_STEP_SECONDS: Final = 0.25
#: Each waiting request holds a thread and a database connection; requests above these numbers are answered at once.
WAITING_MAXIMUM: Final = 40
WAITING_OF_A_CLIENT: Final = 20
_places = Places(in_all=WAITING_MAXIMUM, for_each=WAITING_OF_A_CLIENT)

Wait = Annotated[
    int,
    Query(
        ge=0,
        le=WAIT_MAXIMUM_SECONDS,
        description="Maximum seconds to wait for the job's end; 0 if too many other requests wait",
    ),
]


@router.get("/jobs/{job_id}", auth=READ, response=JobDetail, summary="Read a job with its events")
def get_job(request: HttpRequest, job_id: JobId, wait: Wait = 0) -> JobDetail:
    if wait > 0:
        _wait_for_end(client_of(request), job_id, wait)
    job = read_job(job_id)
    if job is None:
        raise _no_such_job(job_id)
    return job


def _wait_for_end(client: str, job_id: int, seconds: float) -> None:
    if not _places.take(client):
        return
    try:
        deadline = time.monotonic() + seconds
        running = Job.objects.filter(id=job_id).exclude(state__in=TERMINAL_STATES)
        while running.exists() and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, WAIT_STEP_SECONDS))
    finally:
        _places.leave(client)


@router.get("/jobs/{job_id}/events", auth=READ, summary="Follow a job until it ends")
def follow_job(
    request: HttpRequest,
    job_id: JobId,
    last_event_id: Annotated[
        str | None, Header(alias="Last-Event-ID", description="Sent by browsers that reconnect")
    ] = None,
) -> HttpResponseBase:
    """Server-sent events. `job`: the whole job, at once and with each change; `progress`: {"progress": 0 to 1}.

    The stream ends after the `job` event with a terminal state. A client that reconnects to an ended job whose
    last event it has seen gets 204, after which browsers do not reconnect.
    """
    found = Job.objects.filter(id=job_id).values_list("state", "event_count").first()
    if found is None:
        raise _no_such_job(job_id)
    state, event_count = found
    if state in TERMINAL_STATES and last_event_id == str(event_count):
        return HttpResponse(status=204)
    return story_of(request, job_id)


@router.post("/jobs/{job_id}/cancel", auth=CANCEL, response=Cancelled, summary="Cancel a job")
def cancel_job(request: HttpRequest, job_id: JobId) -> Cancelled:
    """A queued job is cancelled at once; a running one is stopped by its worker, unless it ends first."""
    try:
        outcome = lifecycle.cancel(job_id, actor=actor_of(request))
    except Job.DoesNotExist:
        raise _no_such_job(job_id) from None
    if outcome is CancelOutcome.ALREADY_ENDED:
        raise Problem(409, f"Job {job_id} has already ended.")
    return Cancelled(outcome=outcome)


@router.post("/jobs/{job_id}/run-again", auth=SUBMIT, response={202: Submitted}, summary="Run a job again")
def run_again(request: HttpRequest, job_id: JobId) -> Status[Submitted] | HttpResponse:
    """Submits a new job with a new name and the type, parameters, priority and limits of this one."""
    job = Job.objects.filter(id=job_id).first()
    if job is None:
        raise _no_such_job(job_id)
    again = job_request(
        type=job.type,
        priority=job.priority,
        params=job.params,
        source=Source.API,
        owner=actor_of(request),
        time_limit_seconds=job.time_limit_seconds,
        max_failures=job.max_failures,
        accepts_faults=job.accepts_faults,
        largest_gpu_mib=largest_gpu_mib(),
    )
    return submit([again], None)


def _no_such_job(job_id: int) -> Problem:
    return Problem(404, f"There is no job {job_id}.")
