"""Jobs in the admin: the list, a job's story, and the actions cancel, requeue and run again."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from typing import Any, Final

from django.contrib import admin, messages
from django.contrib.admin.options import ActionLocation
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from redis import Redis
from redis.exceptions import RedisError

from scheduler.admin.exporting import ExportAdmin
from scheduler.admin.lists import NOTHING, ROWS_MAXIMUM, GpuFilter, ReadOnlyAdmin, moment, pretty, yes
from scheduler.catalogue import catalogue
from scheduler.job_type import ParamsInvalid
from scheduler.jobs import lifecycle
from scheduler.jobs import submit as intake
from scheduler.jobs.admission import job_request, largest_gpu_mib
from scheduler.jobs.lifecycle import CancelOutcome
from scheduler.jobs.room import NoRoom, broker_share
from scheduler.jobs.submit import JobRequest
from scheduler.jobs.why_waiting import why_waiting
from scheduler.loops.heartbeats import closed_gpus
from scheduler.models import ClusterEvent, Job, JobEvent
from scheduler.redis_client import connect
from scheduler.rules.naming import OWNERS_SHOWN
from scheduler.rules.states import JobState, Priority, Reason, Source

#: The maximum number of jobs in one action: each is its own transaction, and the user waits for the page.
ACTION_MAXIMUM: Final = 500

EVERYWHERE: Final = [ActionLocation.CHANGE_LIST, ActionLocation.CHANGE_FORM]

CANCEL_WORDS: Final = {
    CancelOutcome.CANCELLED: "cancelled",
    CancelOutcome.REQUESTED: "running, cancel requested",
    CancelOutcome.ALREADY_ENDED: "had already ended",
}


class TypeFilter(admin.SimpleListFilter):
    title = "type"
    parameter_name = "type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in catalogue()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> QuerySet[Job]:
        return queryset.filter(type=self.value()) if self.value() in catalogue() else queryset


class OwnerFilter(admin.SimpleListFilter):
    title = "owner"
    parameter_name = "owner"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in Job.objects.all().owners(OWNERS_SHOWN)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> QuerySet[Job]:
        return queryset.filter(owner=self.value()).exclude(owner="") if self.value() else queryset


class RareWordFilter(admin.ChoicesFieldListFilter):
    """A filter for words that few jobs have: excluding the common word lets the database use its partial index."""

    COMMON: Final = {"reason": "", "source": Source.GENERATOR.value}

    def queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> QuerySet[Job]:
        found: Any = super().queryset(request, queryset)
        common = self.COMMON[str(self.field_path)]
        if not self.lookup_val or common in self.lookup_val:
            return found  # type: ignore[no-any-return]
        return found.exclude(**{str(self.field_path): common})  # type: ignore[no-any-return]


class Story(admin.TabularInline):  # type: ignore[type-arg]
    """The events of a job, for everybody who may view the job."""

    model = JobEvent
    template = "admin/scheduler/job/story.html"
    ordering = ("n",)
    fields = ("n", moment("at", "at"), "kind", "attempt", "gpu", "reason", yes("charged", "charged"), "detail")
    readonly_fields = (fields[1], fields[6])
    extra = 0
    can_delete = False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.display(description="state")
def state(job: Job) -> SafeString:
    return format_html('<span class="state {}">{}</span>', job.state, job.state)


@admin.display(description="ran")
def ran(job: Job) -> str:
    if job.started_at is None or job.finished_at is None:
        return NOTHING
    return f"{(job.finished_at - job.started_at).total_seconds():.1f} s"


@admin.display(description="waits because")
def waits(job: Job) -> str:
    """In the words of the API and the job's page."""
    if job.state != JobState.QUEUED:
        return NOTHING
    try:
        closed = closed_gpus(_client())
    except (RedisError, OSError):
        # Only what the workers report is missing then.
        closed = {}
    return why_waiting(job, closed)


TIMES: Final[tuple[Any, ...]] = (
    moment("submitted_at", "submitted"),
    moment("queued_at", "queued"),
    moment("not_before", "not before"),
    moment("started_at", "started"),
    moment("finished_at", "finished"),
    ran,
)
WAITS: Final[Any] = waits
ASKED_TO_STOP, ACCEPTS_FAULTS = yes("cancel_requested", "cancel requested"), yes("accepts_faults", "accepts faults")
PARAMS, RESULT, ERROR = pretty("params", "parameters"), pretty("result", "result"), pretty("error", "error")


@admin.register(Job)
class JobAdmin(ExportAdmin, ReadOnlyAdmin):
    list_display = ("id", "name", "type", "priority", state, "attempt", "gpu", TIMES[0], ran, "reason", "owner")
    list_display_links = ("id", "name")
    list_filter = (
        *("state", "priority", TypeFilter, GpuFilter),
        *(("reason", RareWordFilter), ("source", RareWordFilter), OwnerFilter),
    )
    sortable_by = ("id",)
    ordering = ("-id",)
    search_fields = ("id", "name")
    search_help_text = f"The number or the full name of a job. The list shows at most {ROWS_MAXIMUM} jobs."
    actions = ("cancel", "requeue", "run_again")

    inlines = (Story,)
    readonly_fields = (*TIMES, PARAMS, RESULT, ERROR, ASKED_TO_STOP, ACCEPTS_FAULTS, WAITS)
    fieldsets = (
        (None, {"fields": (("id", "type", "priority", "source", "owner"),)}),
        (
            "State",
            {"fields": (("state", "reason", "gpu", ASKED_TO_STOP), ("attempt", "failures", "max_failures"), WAITS)},
        ),
        ("Outcome", {"fields": (RESULT, ERROR)}),
        ("Requirements", {"fields": (PARAMS, ("gpu_memory_mib", "time_limit_seconds", ACCEPTS_FAULTS))}),
        ("Times (UTC)", {"fields": (TIMES[:3], TIMES[3:])}),
    )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Job], search_term: str
    ) -> tuple[QuerySet[Job], bool]:
        """Exact matches, for which there is an index: a search for substrings would read all names."""
        term = search_term.strip()
        if not term:
            return queryset, False
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,120}", term):
            return queryset.none(), False
        by_id = Q(id=int(term)) if re.fullmatch(r"[0-9]{1,18}", term) else Q()
        return queryset.filter(by_id | Q(name=term) if by_id else Q(name=term)), False

    @admin.action(
        description="Cancel this job",
        description_plural="Cancel selected jobs",
        permissions=["change"],
        location=EVERYWHERE,
    )
    def cancel(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        actor = request.user.get_username()
        jobs = self._chosen(request, queryset)
        found = {job: CANCEL_WORDS[lifecycle.cancel(job.id, actor=actor)] for job in jobs}
        self._report(request, "cancel", found)

    @admin.action(
        description="Requeue this job, without a charged failure",
        description_plural="Requeue selected running jobs, without a charged failure",
        permissions=["change"],
        location=EVERYWHERE,
    )
    def requeue(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        detail = f"by {request.user.get_username()}"
        found = {
            job: _requeue_word(lifecycle.requeue(job.id, job.attempt, Reason.OPERATOR, detail=detail))
            for job in self._chosen(request, queryset)
        }
        self._report(request, "requeue", found)

    @admin.action(
        description="Run this job again, as a new job",
        description_plural="Run selected jobs again, as new jobs",
        permissions=["change"],
        location=EVERYWHERE,
    )
    def run_again(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        requests: list[JobRequest] = []
        largest_mib = largest_gpu_mib()
        for job in self._chosen(request, queryset):
            try:
                requests.append(_copy(job, largest_mib, request.user.get_username()))
            except ParamsInvalid as error:
                self.message_user(request, f"{job.name} cannot run again: {error}", messages.ERROR)
        try:
            submitted = intake.submit(requests, client=_client(), broker_share=broker_share())
        except NoRoom as error:
            self.message_user(request, f"Nothing was submitted. {error}", messages.ERROR)
            return
        if submitted:
            _audit(request, f"{_jobs(len(submitted))} submitted again", after={"jobs": [job.id for job in submitted]})
            ids = ", ".join(str(job.id) for job in submitted[:10])
            more = f" and {len(submitted) - 10} more" if len(submitted) > 10 else ""
            self.message_user(request, f"Submitted as {ids}{more}.", messages.SUCCESS)

    def _chosen(self, request: HttpRequest, queryset: QuerySet[Job]) -> list[Job]:
        jobs = list(queryset.order_by("id")[: ACTION_MAXIMUM + 1])
        if len(jobs) > ACTION_MAXIMUM:
            text = f"Select at most {ACTION_MAXIMUM} jobs. Nothing was changed."
            self.message_user(request, text, messages.ERROR)
            return []
        return jobs

    def _report(self, request: HttpRequest, action: str, found: dict[Job, str]) -> None:
        if found:
            counts = Counter(found.values())
            words = "; ".join(f"{_jobs(n)} {word}" for word, n in counts.items())
            self.message_user(request, f"{words}.", messages.INFO)
            _audit(
                request,
                f"{action.capitalize()}: {words}",
                before={str(job.id): job.state for job in found},
                after={str(job.id): word for job, word in found.items()},
            )


def _audit(request: HttpRequest, what: str, **values: Any) -> None:
    actor = request.user.get_username()
    ClusterEvent.objects.create(kind="jobs", actor=actor, message=f"{what}, by {actor}", **values)


def _jobs(n: int) -> str:
    return f"{n} {'job' if n == 1 else 'jobs'}"


def _requeue_word(state: JobState | None) -> str:
    match state:
        case None:
            return "not running, unchanged"
        case JobState.QUEUED:
            return "requeued"
        case _:
            return f"{state}, because a cancel was requested"


def _copy(job: Job, largest_mib: int | None, owner: str) -> JobRequest:
    return job_request(
        type=job.type,
        priority=Priority(job.priority),
        params=job.params,
        source=Source.ADMIN,
        owner=owner,
        time_limit_seconds=job.time_limit_seconds,
        max_failures=job.max_failures,
        accepts_faults=job.accepts_faults,
        largest_gpu_mib=largest_mib,
    )


@cache
def _client() -> Redis:
    return connect()
