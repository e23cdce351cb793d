"""Submissions: read and checked field by field, then written chunk by chunk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import batched
from typing import Any

from django.db import InterfaceError, OperationalError, transaction
from django.http import HttpResponse
from ninja.responses import Status
from pydantic import ValidationError

from cluster_dashboard.api.broker import client
from cluster_dashboard.api.http.idempotency import Hold
from cluster_dashboard.api.http.json_body import check_storable
from cluster_dashboard.api.http.problems import ERRORS_MAXIMUM, FieldError, Problem, database_away
from cluster_dashboard.api.http.validation import field_errors, invalid
from cluster_dashboard.api.schemas import SubmitJob, SubmitJobs, SubmitMany, Submitted
from scheduler.broker import hints
from scheduler.broker.hints import SubmittedJob
from scheduler.catalogue import catalogue
from scheduler.job_type import ParamsInvalid
from scheduler.jobs import submit as intake
from scheduler.jobs.admission import job_request, job_requests, largest_gpu_mib
from scheduler.jobs.room import broker_share, check_room
from scheduler.jobs.submit import ROWS_PER_TRANSACTION, JobRequest
from scheduler.models import Control, Job
from scheduler.rules.states import Source

# --- reading --------------------------------------------------------------------------------------


def read_submission(body: dict[str, Any]) -> list[JobRequest]:
    """Checked; a problem names every wrong field, up to as many as one answer lists."""
    model = SubmitMany if "jobs" in body else SubmitJobs
    try:
        submission = model.model_validate(body)
    except ValidationError as error:
        raise invalid(field_errors(model, error)) from None
    if isinstance(submission, SubmitMany):
        return _different(submission.jobs)
    errors = _params_errors(submission, "params")
    if errors:
        raise invalid(errors)
    return job_requests(source=Source.API, **submission.model_dump())


def _different(jobs: Sequence[SubmitJob]) -> list[JobRequest]:
    largest_mib = largest_gpu_mib()
    requests: list[JobRequest] = []
    errors: list[FieldError] = []
    for i, job in enumerate(jobs):
        try:
            errors += _params_errors(job, f"jobs.{i}.params")
            requests.append(job_request(source=Source.API, largest_gpu_mib=largest_mib, **job.model_dump()))
        except ParamsInvalid as error:
            field = error.field if error.field.startswith("jobs.") else f"jobs.{i}.{error.field}"
            if all(known.field != field for known in errors):
                errors.append(FieldError(field=field, message=error.message))
        if len(errors) >= ERRORS_MAXIMUM:
            break
    if errors:
        raise invalid(errors)
    _refuse_names_given_twice(jobs)
    return requests


def _refuse_names_given_twice(jobs: Sequence[SubmitJob]) -> None:
    names: set[str] = set()
    for i, job in enumerate(jobs):
        if job.name in names:
            raise _name_taken(f"{job.name!r} is given to two jobs; names are unique", field=f"jobs.{i}.name")
        if job.name is not None:
            names.add(job.name)


def _params_errors(job: SubmitJob, field: str) -> list[FieldError]:
    """Names every wrong parameter, where admission stops at the first."""
    check_storable(job.params, field)
    params = catalogue()[job.type].Params
    try:
        # As JSON, since there strict means that "3" is no number, but a word of an enum is one.
        params.model_validate_json(json.dumps(job.params), strict=True)
    except ValidationError as error:
        return field_errors(params, error, within=field)
    return []


# --- writing --------------------------------------------------------------------------------------


def submit(requests: Sequence[JobRequest], held: Hold | None) -> Status[Submitted] | HttpResponse:
    """All of them, a transaction for each chunk. `held`: notes in the same transactions what is in."""
    check_room(len(requests), broker_share())
    _refuse_taken_names(requests)
    seed = Control.objects.values_list("seed", flat=True).get()
    before = [] if held is None else list(held.ids)
    accepted: list[SubmittedJob] = []
    try:
        for chunk in batched(requests, ROWS_PER_TRANSACTION):
            accepted += _submit_chunk(chunk, seed, held, last=len(accepted) + len(chunk) == len(requests))
    except (OperationalError, InterfaceError) as error:
        return database_away(error, extra={"accepted_ids": before + _ids(accepted)})
    except ParamsInvalid as error:
        # Somebody took one of the names in between.
        raise _name_taken(error.message, extra={"accepted_ids": before + _ids(accepted)}) from None
    finally:
        hints.send_soon(accepted, client())
    return Status(202, Submitted(ids=before + _ids(accepted)))


def _submit_chunk(chunk: Sequence[JobRequest], seed: int, held: Hold | None, *, last: bool) -> list[SubmittedJob]:
    with transaction.atomic():
        jobs = intake.submit(chunk, name_seed=seed)
        if held is not None:
            held.note(_ids(jobs), last=last)
    if held is not None:
        held.noted(_ids(jobs), last=last)
    return jobs


def _ids(jobs: Sequence[SubmittedJob]) -> list[int]:
    return [job.id for job in jobs]


def _refuse_taken_names(requests: Sequence[JobRequest]) -> None:
    """Before the first transaction: a refused call should leave nothing behind."""
    names = {request.name for request in requests if request.name}
    for some in batched(names, ROWS_PER_TRANSACTION):
        taken = Job.objects.filter(name__in=some).values_list("name", flat=True).first()
        if taken is not None:
            raise _name_taken(f"{taken!r} is taken; names are unique")


def _name_taken(message: str, *, field: str = "name", extra: dict[str, Any] | None = None) -> Problem:
    return Problem(409, f"{field}: {message}", errors=[FieldError(field=field, message=message)], extra=extra)
