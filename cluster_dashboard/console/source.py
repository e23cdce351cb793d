"""Where the commands' data comes from: this cluster's database and broker. Words and tables are made elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db.models import QuerySet

from cluster_dashboard.api.gpus import GpuInfo, gpu_infos
from cluster_dashboard.api.http.json_body import check_text
from cluster_dashboard.api.schemas import BIGINT_MAXIMUM, JobSummary
from scheduler.catalogue import catalogue
from scheduler.job_type import UnknownJobType
from scheduler.jobs.clock import database_now
from scheduler.models import Allocation, ClusterEvent, Gpu, Job

#: Ids are given in order and committed in any: so far back, a look for new events looks again.
EVENT_OVERLAP: Final = 100


def now() -> datetime:
    """By the cluster's clock, with which all its times compare."""
    return database_now()


# --- jobs -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class JobListing:
    """Newest first. next_before: where the next page starts; None: there is none."""

    jobs: Sequence[JobSummary]
    next_before: int | None


def jobs(
    *,
    state: str | None,
    job_type: str | None,
    priority: str | None,
    owner: str | None,
    before: int | None,
    limit: int,
) -> JobListing:
    """UnknownJobType for a type that neither exists nor ever did."""
    if job_type is not None:
        check_text(job_type, "type")
        if job_type not in catalogue() and not Job.objects.filter(type=job_type).exists():
            raise UnknownJobType(job_type, catalogue())
    filters = {"state": state, "priority": priority, "type": job_type, "id__lt": before}
    given = {name: value for name, value in filters.items() if value is not None}
    # One more than asked for tells whether there are more.
    chosen = Job.objects.all() if owner is None else Job.objects.all().of_owner(owner)
    found = list(chosen.filter(**given).newest_first().defer("params", "result", "error")[: limit + 1])
    page = found[:limit]
    next_before = page[-1].id if len(found) > limit else None
    return JobListing(jobs=[JobSummary.from_orm(job) for job in page], next_before=next_before)


def job_id_of(text: str) -> int | None:
    """Of an id or a name; None if there is no such job. A name may be all digits too."""
    if text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= BIGINT_MAXIMUM:
        job_id = int(text)
        if Job.objects.filter(id=job_id).exists():
            return job_id
    # Names are ASCII; other text may be more than a database accepts.
    return Job.objects.filter(name=text).values_list("id", flat=True).first() if text.isascii() else None


# --- GPUs -----------------------------------------------------------------------------------------


def gpus() -> list[GpuInfo]:
    """By index, with what their workers report now; that is None while the broker is unavailable."""
    return gpu_infos()


def gpu_indexes() -> list[int]:
    return list(Gpu.objects.values_list("index", flat=True))


def running_on(indexes: Sequence[int]) -> dict[int, int]:
    """The job of each of these GPUs that runs one."""
    return dict(Allocation.objects.filter(gpu__in=indexes).order_by("gpu").values_list("gpu", "job_id"))


# --- events ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """What happened to the cluster. actor: who did it; empty: the cluster itself. gpu: None: no single one."""

    id: int
    at: datetime
    kind: str
    gpu: int | None
    actor: str
    message: str
    before: Any
    after: Any


def events(*, since: datetime | None, kind: str | None, gpu: int | None, limit: int) -> list[EventRow]:
    """The newest `limit`, oldest first."""
    filters = {"at__gte": since, "kind": kind, "gpu": gpu}
    found = ClusterEvent.objects.filter(**{name: value for name, value in filters.items() if value is not None})
    return _rows(found.order_by("-id")[:limit])[::-1]


def new_events(*, kind: str | None, gpu: int | None) -> Iterator[list[EventRow]]:
    """Each next() returns the events since the one before, oldest first; the first returns none."""
    newest = ClusterEvent.objects.order_by("-id").values_list("id", flat=True).first() or 0
    seen = set(ClusterEvent.objects.filter(id__gt=newest - EVENT_OVERLAP).values_list("id", flat=True))
    yield []
    while True:
        found = _rows(ClusterEvent.objects.filter(id__gt=newest - EVENT_OVERLAP).order_by("id"))
        new = [row for row in found if row.id not in seen]
        newest = max([newest, *(row.id for row in new)])
        seen = {row.id for row in found if row.id > newest - EVENT_OVERLAP}
        yield [row for row in new if kind in {None, row.kind} and gpu in {None, row.gpu}]


def event_kinds() -> list[str]:
    """Of the events that are kept."""
    return sorted(ClusterEvent.objects.order_by().values_list("kind", flat=True).distinct())


def _rows(found: QuerySet[ClusterEvent]) -> list[EventRow]:
    return [
        EventRow(
            id=event.id,
            at=event.at,
            kind=event.kind,
            gpu=event.gpu,
            actor=event.actor,
            message=event.message,
            before=event.before,
            after=event.after,
        )
        for event in found
    ]
