"""Builders: valid values, of which a test states only what matters to it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import F

from scheduler.broker.hints import SubmittedJob
from scheduler.jobs import lifecycle
from scheduler.jobs import submit as intake
from scheduler.jobs.admission import job_request
from scheduler.jobs.lifecycle import Claimed
from scheduler.jobs.submit import JobRequest
from scheduler.models import Job
from scheduler.rules.states import JobState, Reason, Source


def submit(count: int = 1, **fields: Any) -> list[Job]:
    """Jobs that wait; a no-op unless the fields say otherwise."""
    values: dict[str, Any] = {"type": "sleep", "params": {"seconds": 0}, "source": Source.API, **fields}
    jobs = insert([job_request(**values) for _ in range(count)])
    return list(Job.objects.filter(id__in=[job.id for job in jobs]).order_by("id"))


def insert(requests: Sequence[JobRequest]) -> list[SubmittedJob]:
    """As the submit call does, but without the control row, which not every test has."""
    with transaction.atomic():
        return intake.insert(requests, name_seed=0)


def queued(**fields: Any) -> Job:
    return submit(**fields)[0]


def running(*, gpu: int = 0, boot: str = "boot-0", **fields: Any) -> Job:
    job = queued(**fields)
    claimed = lifecycle.claim(job.id, job.attempt, gpu=gpu, boot=boot)
    assert isinstance(claimed, Claimed), claimed
    return reread(job)


def ended(state: JobState, **fields: Any) -> Job:
    job = running(**fields)
    if state is JobState.CANCELLED:
        lifecycle.cancel(job.id, actor="a test")
        lifecycle.requeue(job.id, job.attempt, Reason.CANCEL)
    else:
        assert lifecycle.end(job.id, job.attempt, state)
    return reread(job)


def in_state(state: JobState) -> Job:
    if state is JobState.QUEUED:
        return queued()
    return running() if state is JobState.RUNNING else ended(state)


def let_wait(seconds: float) -> None:
    """All waiting jobs have waited so much longer."""
    moved = timedelta(seconds=seconds)
    Job.objects.queued().update(queued_at=F("queued_at") - moved, not_before=F("not_before") - moved)


def make_due(job: Job) -> None:
    """Lets the back-off of a requeued job pass."""
    Job.objects.filter(id=job.id).update(not_before=job.submitted_at, elsewhere_until=None)


def reread(job: Job) -> Job:
    return Job.objects.get(id=job.id)


def story(job: Job) -> list[tuple[int, str, int]]:
    return list(job.events.order_by("n").values_list("n", "kind", "attempt"))
