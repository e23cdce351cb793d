"""/api/jobs: submit jobs, and list them with filters. /api/job-types: the job types of this cluster."""

from __future__ import annotations

from typing import Annotated, Any, Final

from django.http import HttpRequest, HttpResponse
from ninja import Body, Header, Query, Router
from ninja.responses import Status

from cluster_dashboard.api.http.idempotency import KEY_HEADER, hold
from cluster_dashboard.api.http.json_body import check_text
from cluster_dashboard.api.http.permissions import READ, SUBMIT, actor_of
from cluster_dashboard.api.http.problems import FieldError
from cluster_dashboard.api.http.validation import FIELD_LENGTH, invalid
from cluster_dashboard.api.schemas import JobFilter, JobPage, JobSummary, JobTypes, Submitted
from cluster_dashboard.api.submission import read_submission, submit
from scheduler import parameters
from scheduler.catalogue import catalogue
from scheduler.job_type import UnknownJobType
from scheduler.models import Job, JobQuerySet
from scheduler.rules.naming import check_name
from scheduler.rules.states import Source

router = Router(tags=["jobs"])

#: Filters that compare a column with the given value.
EQUAL: Final = ("state", "priority", "gpu", "source", "name")

Key = Annotated[
    str | None,
    Header(
        alias=KEY_HEADER,
        min_length=1,
        max_length=255,
        pattern=r"^[!-~]+$",
        description="A key that you choose for this submission, such as a UUID. The same key and body sent again "
        "within 24 hours return the same answer and submit no new jobs",
    ),
]


@router.post("/jobs", auth=SUBMIT, response={202: Submitted}, summary="Submit jobs")
def submit_jobs(
    request: HttpRequest, body: Annotated[dict[str, Any], Body()], idempotency_key: Key = None
) -> Status[Submitted] | HttpResponse:
    """One job, `count` equal jobs, or a list of different `jobs`; at most 10,000.

    The answer never waits for the broker: 202 means that the jobs are in the database and will run.
    More than 250 jobs are inserted by several transactions. If one of them fails, the answer is a problem whose
    `accepted_ids` lists the jobs that were inserted; with an Idempotency-Key the same request again submits the rest.
    """
    requests = read_submission(body, owner=actor_of(request))
    if idempotency_key is None:
        return submit(requests, None, in_list="jobs" in body)
    held = hold(actor_of(request), idempotency_key, body)
    if held.done:
        return Status(202, Submitted(ids=held.ids))
    try:
        return submit(requests[len(held.ids) :], held, in_list="jobs" in body)
    finally:
        if not held.done:
            held.let_go()


@router.get("/jobs", auth=READ, response=JobPage, summary="List jobs, newest first")
def list_jobs(request: HttpRequest, wanted: Query[JobFilter]) -> JobPage:
    _refuse_unknown_query(request)
    jobs = _matching(wanted).newest_first().defer("params", "result", "error")
    # One more than the limit shows whether there is another page.
    found = list(jobs[: wanted.limit + 1])
    page = found[: wanted.limit]
    next_before = page[-1].id if len(found) > len(page) else None
    return JobPage(jobs=[JobSummary.from_orm(job) for job in page], next_before=next_before)


def _matching(wanted: JobFilter) -> JobQuerySet:
    jobs = Job.objects.filter(**{name: value for name in EQUAL if (value := getattr(wanted, name)) is not None})
    if wanted.name is not None:
        check_name(wanted.name)
    if wanted.type is not None:
        jobs = jobs.filter(type=_known_type(wanted.type))
    if wanted.reason is not None:
        # The second condition excludes nothing more, but lets SQLite use the index of jobs with a reason.
        jobs = jobs.filter(reason=wanted.reason).exclude(reason="")
    if wanted.source is not None and wanted.source != Source.GENERATOR:
        # The same for the index of jobs that the generator did not submit.
        jobs = jobs.exclude(source=Source.GENERATOR)
    if wanted.owner is not None:
        check_text(wanted.owner, "owner")
        jobs = jobs.of_owner(wanted.owner)
    if wanted.before is not None:
        jobs = jobs.filter(id__lt=wanted.before)
    return jobs.submitted_between(wanted.since, wanted.until)


def _refuse_unknown_query(request: HttpRequest) -> None:
    known = ", ".join(JobFilter.model_fields)
    unknown = [name[:FIELD_LENGTH] for name in request.GET if name not in JobFilter.model_fields]
    if unknown:
        raise invalid([FieldError(field=name, message=f"is unknown; must be one of {known}") for name in unknown])


def _known_type(name: str) -> str:
    """A type of this installation, or a former one that jobs in the database have."""
    check_text(name, "type")
    if name not in catalogue() and not Job.objects.filter(type=name).exists():
        raise UnknownJobType(name, catalogue())
    return name


@router.get("/job-types", auth=READ, response=JobTypes, summary="The job types and their parameters")
def list_job_types(request: HttpRequest) -> dict[str, list[dict[str, object]]]:
    return {
        "job_types": [
            {"name": each.name, "summary": each.summary, "params_schema": parameters.schema(each.Params)}
            for each in catalogue().values()
        ]
    }
