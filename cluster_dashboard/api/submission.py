"""Submissions: read and checked field by field, then submitted; what goes wrong becomes a problem."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from django.db import InterfaceError, OperationalError
from django.http import HttpResponse
from ninja.responses import Status
from pydantic import ValidationError

from cluster_dashboard.api.broker import client
from cluster_dashboard.api.http.idempotency import Hold
from cluster_dashboard.api.http.json_body import check_storable
from cluster_dashboard.api.http.problems import ERRORS_MAXIMUM, FieldError, Problem, database_unavailable
from cluster_dashboard.api.http.validation import field_errors, invalid
from cluster_dashboard.api.schemas import SubmitJob, SubmitJobs, SubmitMany, Submitted
from scheduler.broker.hints import SubmittedJob
from scheduler.catalogue import catalogue
from scheduler.job_type import ParamsInvalid
from scheduler.jobs import submit as intake
from scheduler.jobs.admission import job_request, job_requests, largest_gpu_mib
from scheduler.jobs.room import broker_share
from scheduler.jobs.submit import JobRequest, NameTaken
from scheduler.rules.states import Source

# --- reading --------------------------------------------------------------------------------------


def read_submission(body: dict[str, Any], *, owner: str) -> list[JobRequest]:
    """Checks the body; a problem lists every wrong field, up to ERRORS_MAXIMUM."""
    model = SubmitMany if "jobs" in body else SubmitJobs
    try:
        submission = model.model_validate(body)
    except ValidationError as error:
        raise invalid(field_errors(model, error)) from None
    if isinstance(submission, SubmitMany):
        return _different(submission.jobs, owner)
    errors = _params_errors(submission, "params")
    if errors:
        raise invalid(errors)
    return job_requests(source=Source.API, owner=owner, **submission.model_dump())


def _different(jobs: Sequence[SubmitJob], owner: str) -> list[JobRequest]:
    largest_mib = largest_gpu_mib()
    requests: list[JobRequest] = []
    errors: list[FieldError] = []
    for i, job in enumerate(jobs):
        try:
            errors += _params_errors(job, f"jobs.{i}.params")
            values = job.model_dump()
            requests.append(job_request(source=Source.API, owner=owner, largest_gpu_mib=largest_mib, **values))
        except ParamsInvalid as error:
            field = error.field if error.field.startswith("jobs.") else f"jobs.{i}.{error.field}"
            if all(known.field != field for known in errors):
                errors.append(FieldError(field=field, message=error.message))
        if len(errors) >= ERRORS_MAXIMUM:
            break
    if errors:
        raise invalid(errors)
    return requests


def _params_errors(job: SubmitJob, field: str) -> list[FieldError]:
    """Lists every wrong parameter; admission stops at the first one."""
    check_storable(job.params, field)
    params = catalogue()[job.type].Params
    try:
        # As JSON: there, strict refuses "3" as a number but accepts the text of an enum's value.
        params.model_validate_json(json.dumps(job.params), strict=True, by_alias=True, by_name=True)
    except ValidationError as error:
        return field_errors(params, error, within=field)
    return []


# --- writing --------------------------------------------------------------------------------------


def submit(
    requests: Sequence[JobRequest], held: Hold | None, *, in_list: bool = False
) -> Status[Submitted] | HttpResponse:
    """Submits the jobs; a problem names those that are in.

    held: records in the same transactions what is in; `requests` are those that are not in yet.
    in_list: whether the client sent them as `jobs`, so that a problem names the position of the job.
    """
    before = [] if held is None else list(held.ids)
    accepted: list[SubmittedJob] = []
    try:
        intake.submit(requests, client=client(), broker_share=broker_share(), note=held, accepted=accepted)
    except (OperationalError, InterfaceError) as error:
        return database_unavailable(error, extra=_accepted_ids(before, accepted))
    except NameTaken as error:
        field = f"jobs.{len(before) + error.index}.name" if in_list else "name"
        raise Problem(
            409,
            f"{field}: {error.message}",
            errors=[FieldError(field=field, message=error.message)],
            extra=_accepted_ids(before, accepted),
        ) from None
    return Status(202, Submitted(ids=before + [job.id for job in accepted]))


def _accepted_ids(before: list[int], accepted: Sequence[SubmittedJob]) -> dict[str, Any]:
    return {"accepted_ids": before + [job.id for job in accepted]}
