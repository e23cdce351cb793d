"""/api/jobs: submit, list, look at one, cancel; and the job types there are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import batched
from typing import Annotated, Any

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from ninja import Path, Query, Router
from ninja.responses import Status
from pydantic import ValidationError

from cluster_dashboard.api.broker import client
from cluster_dashboard.api.json_body import check_storable, check_text
from cluster_dashboard.api.permissions import READ, actor_of
from cluster_dashboard.api.problems import FieldError, Problem, database_away
from cluster_dashboard.api.schemas import (
    BIGINT_MAXIMUM,
    Cancelled,
    JobDetail,
    JobFilter,
    JobPage,
    JobSummary,
    JobTypes,
    SubmitJobs,
    Submitted,
)
from cluster_dashboard.api.validation import FIELD_LENGTH, field_errors, invalid
from scheduler import hints, lifecycle
from scheduler.admission import job_requests
from scheduler.catalogue import catalogue
from scheduler.job_type import ParamsInvalid, UnknownJobType
from scheduler.lifecycle import ROWS_PER_TRANSACTION, CancelOutcome, JobRequest, SubmittedJob
from scheduler.models import Control, Job
from scheduler.states import Source

router = Router(tags=["jobs"])

JobId = Annotated[int, Path(ge=1, le=BIGINT_MAXIMUM)]


@router.post("/jobs", response={202: Submitted}, summary="Submit jobs")
def submit_jobs(request: HttpRequest, submission: SubmitJobs) -> Status[Submitted] | HttpResponse:
    """The answer never waits for the broker: 202 means that the jobs are in the database, and will run.

    More than 250 jobs go in by several transactions. If one of them fails, the answer is a problem whose
    `accepted_ids` names the jobs that are in.
    """
    _check_params(submission)
    requests = job_requests(source=Source.API, **submission.model_dump())
    _refuse_taken_names(requests)
    seed = Control.objects.values_list("seed", flat=True).get()
    accepted: list[SubmittedJob] = []
    try:
        for chunk in batched(requests, ROWS_PER_TRANSACTION):
            accepted += lifecycle.submit(chunk, name_seed=seed)
    except (OperationalError, InterfaceError) as error:
        return database_away(error, extra=_accepted(accepted))
    except ParamsInvalid as error:
        # Somebody took one of the names in between.
        raise _name_taken(error.message, extra=_accepted(accepted)) from None
    finally:
        hints.send_soon(accepted, client())
    return Status(202, Submitted(ids=[job.id for job in accepted]))


def _check_params(submission: SubmitJobs) -> None:
    """Names every wrong parameter, where admission stops at the first."""
    check_storable(submission.params, "params")
    params = catalogue()[submission.type].Params
    try:
        # As JSON, since there strict means that "3" is no number, but a word of an enum is one.
        params.model_validate_json(json.dumps(submission.params), strict=True)
    except ValidationError as error:
        raise invalid(field_errors(params, error, within="params")) from None


def _accepted(jobs: Sequence[SubmittedJob]) -> dict[str, list[int]]:
    return {"accepted_ids": [job.id for job in jobs]}


def _refuse_taken_names(requests: Sequence[JobRequest]) -> None:
    """Before the first transaction: a refused call should leave nothing behind."""
    names = {request.name for request in requests if request.name}
    for some in batched(names, ROWS_PER_TRANSACTION):
        taken = Job.objects.filter(name__in=some).values_list("name", flat=True).first()
        if taken is not None:
            raise _name_taken(f"{taken!r} is taken; names are unique")


def _name_taken(message: str, *, extra: dict[str, Any] | None = None) -> Problem:
    return Problem(409, f"name: {message}", errors=[FieldError(field="name", message=message)], extra=extra)


@router.get("/jobs", auth=READ, response=JobPage, summary="List jobs, newest first")
def list_jobs(request: HttpRequest, wanted: Query[JobFilter]) -> JobPage:
    _refuse_unknown_query(request)
    jobs = Job.objects.newest_first().defer("params", "result", "error")
    if wanted.type is not None:
        jobs = jobs.filter(type=_known_type(wanted.type))
    if wanted.state is not None:
        jobs = jobs.filter(state=wanted.state)
    if wanted.priority is not None:
        jobs = jobs.filter(priority=wanted.priority)
    if wanted.before is not None:
        jobs = jobs.filter(id__lt=wanted.before)
    # One more than asked for tells whether there is another page.
    found = list(jobs[: wanted.limit + 1])
    page = found[: wanted.limit]
    next_before = page[-1].id if len(found) > len(page) else None
    return JobPage(jobs=[JobSummary.from_orm(job) for job in page], next_before=next_before)


def _refuse_unknown_query(request: HttpRequest) -> None:
    known = ", ".join(JobFilter.model_fields)
    unknown = [name[:FIELD_LENGTH] for name in request.GET if name not in JobFilter.model_fields]
    if unknown:
        raise invalid([FieldError(field=name, message=f"is not known; known are {known}") for name in unknown])


def _known_type(name: str) -> str:
    """A type of this installation, or one that jobs of the past had."""
    check_text(name, "type")
    if name not in catalogue() and not Job.objects.filter(type=name).exists():
        raise UnknownJobType(name, catalogue())
    return name


@router.get("/jobs/{job_id}", auth=READ, response=JobDetail, summary="One job with its story")
def get_job(request: HttpRequest, job_id: JobId) -> Job:
    job = Job.objects.prefetch_related("events").filter(id=job_id).first()
    if job is None:
        raise _no_such_job(job_id)
    return job


@router.post("/jobs/{job_id}/cancel", response=Cancelled, summary="Cancel a job")
def cancel_job(request: HttpRequest, job_id: JobId) -> Cancelled:
    """A waiting job ends at once; a running one is stopped by its worker, unless it ends first."""
    try:
        outcome = lifecycle.cancel(job_id, actor=actor_of(request))
    except Job.DoesNotExist:
        raise _no_such_job(job_id) from None
    if outcome is CancelOutcome.ALREADY_ENDED:
        raise Problem(409, f"Job {job_id} has already ended.")
    return Cancelled(outcome=outcome)


def _no_such_job(job_id: int) -> Problem:
    return Problem(404, f"There is no job {job_id}.")


@router.get("/job-types", auth=READ, response=JobTypes, summary="The job types and their parameters")
def list_job_types(request: HttpRequest) -> dict[str, list[dict[str, object]]]:
    return {
        "job_types": [
            {"name": each.name, "summary": each.summary, "params_schema": each.Params.model_json_schema()}
            for each in catalogue().values()
        ]
    }
