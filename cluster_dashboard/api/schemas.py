"""Bodies and queries that the API accepts, and its answers. Input refuses unknown fields and other JSON types."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Final

from django.conf import settings
from ninja import Schema
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool
from pydantic_core import PydanticCustomError

from scheduler.jobs.admission import COUNT_MAXIMUM
from scheduler.jobs.lifecycle import CancelOutcome
from scheduler.rules.job_limits import FAILURE_LIMIT, FAILURE_LIMIT_MAXIMUM, TIME_LIMIT_SECONDS
from scheduler.rules.naming import NAME_MAXIMUM_LENGTH, OWNER_LENGTH
from scheduler.rules.states import EventKind, JobState, Priority, Reason, Source

BIGINT_MAXIMUM: Final = 2**63 - 1
SMALLINT_MAXIMUM: Final = 2**15 - 1
LIMIT_MAXIMUM: Final = 500


def _a_number(value: Any) -> Any:
    """pydantic would accept true as 1 and "3" as 3."""
    if isinstance(value, bool | str):
        raise PydanticCustomError("number_type", "must be a number")
    return value


#: To be placed after the bounds: pydantic keeps them in the JSON schema only then.
NUMBER: Final = BeforeValidator(_a_number)


#: The pattern is for readers of the schema. Admission checks names, with a message that people understand.
NAME_FIELD: Final = Field(
    min_length=1, max_length=NAME_MAXIMUM_LENGTH, json_schema_extra={"pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*$"}
)


class Input(BaseModel):
    model_config = ConfigDict(extra="forbid")


# --- jobs -----------------------------------------------------------------------------------------


class SubmitJob(Input):
    """The fields of `params` depend on the type: see GET /api/job-types."""

    type: Annotated[str, Field(min_length=1, max_length=60, description="One of GET /api/job-types")]
    priority: Priority = Priority.NORMAL
    params: dict[str, Any] = Field(default_factory=dict, description="Parameters of the type; each has a default")
    name: Annotated[str, NAME_FIELD] | None = Field(default=None, description="Unique; generated if missing")
    time_limit_seconds: Annotated[int, Field(ge=1, le=settings.TIME_LIMIT_MAX_SECONDS), NUMBER] = Field(
        default=TIME_LIMIT_SECONDS,
        description="Seconds for which each attempt may run; the setting TIME_LIMIT_MAX is the maximum",
    )
    max_failures: Annotated[int, Field(ge=1, le=FAILURE_LIMIT_MAXIMUM), NUMBER] = FAILURE_LIMIT
    accepts_faults: StrictBool = Field(default=False, description="Whether random faults may hit the job")


class SubmitJobs(SubmitJob):
    """One job, or `count` equal jobs; with a name and a count above 1 they are called NAME-1, NAME-2, ..."""

    count: Annotated[int, Field(ge=1, le=COUNT_MAXIMUM), NUMBER] = 1


class SubmitMany(Input):
    """Different jobs in one call."""

    jobs: Annotated[list[SubmitJob], Field(min_length=1, max_length=COUNT_MAXIMUM)]


class Submitted(Schema):
    ids: list[int] = Field(description="In the order of the submission")


def _a_moment(value: Any) -> Any:
    """pydantic would accept 3 as three seconds after 1970, and keep a time without a zone as it is."""
    try:
        moment = datetime.fromisoformat(value)
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        words = "must be a time such as 2026-01-31T12:00:00Z (UTC if it has no zone)"
        raise PydanticCustomError("moment", words) from None


Moment = Annotated[datetime, BeforeValidator(_a_moment)]


class JobFilter(Input):
    """A job is listed if it matches every filter that is given."""

    state: JobState | None = None
    type: Annotated[str, Field(min_length=1, max_length=60)] | None = None
    priority: Priority | None = None
    gpu: int | None = Field(default=None, ge=0, le=SMALLINT_MAXIMUM, description="Where it runs, or ran last")
    reason: Reason | None = Field(default=None, description="Why it left its previous state")
    source: Source | None = Field(default=None, description="By which way it was submitted")
    owner: Annotated[str, Field(max_length=OWNER_LENGTH)] | None = Field(
        default=None, description="Who submitted it: its complete name; empty: the generator"
    )
    name: Annotated[str, NAME_FIELD] | None = Field(default=None, description="Its complete name")
    since: Moment | None = Field(default=None, description="Submitted at this time or later")
    until: Moment | None = Field(default=None, description="Submitted before this time")
    limit: int = Field(default=50, ge=1, le=LIMIT_MAXIMUM)
    before: int | None = Field(
        default=None, ge=1, le=BIGINT_MAXIMUM, description="Only jobs with a smaller id: `next_before` of the last page"
    )


class JobSummary(Schema):
    id: int
    name: str
    type: str
    priority: Priority
    state: JobState
    attempt: int = Field(description="The current attempt: it grows with each requeue")
    failures: int = Field(description="Failures charged so far")
    gpu: int | None = Field(description="Where it runs, or ran last")
    reason: str = Field(description="Why it left its previous state; may be empty")
    source: Source
    owner: str = Field(description="Who submitted it: a user, a token, or a command's unix user; empty: the generator")
    cancel_requested: bool
    submitted_at: datetime
    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class JobPage(Schema):
    """Newest first."""

    jobs: list[JobSummary]
    next_before: int | None = Field(description="Send it as `before` to get the next page; null on the last one")


class JobStep(Schema):
    n: int
    kind: EventKind
    at: datetime
    attempt: int
    gpu: int | None
    reason: str
    charged: bool
    detail: str


class JobDetail(JobSummary):
    params: dict[str, Any]
    result: Any
    error: str
    time_limit_seconds: int
    max_failures: int
    accepts_faults: bool
    gpu_memory_mib: int
    waits_because: str = Field(description="Why it does not run yet, in words; empty once it is not queued")
    not_before: datetime
    at: datetime = Field(description="When this was read, by the server's clock")
    progress: float | None = Field(description="0 to 1 while it runs, if its type reports it; null if unknown")
    events: list[JobStep]


class Cancelled(Schema):
    outcome: CancelOutcome = Field(
        description="cancelled: it was queued, and has ended; requested: it is being stopped"
    )


class JobTypeInfo(Schema):
    name: str
    summary: str
    params_schema: dict[str, Any] = Field(description="JSON schema of its parameters")


class JobTypes(Schema):
    job_types: list[JobTypeInfo]
