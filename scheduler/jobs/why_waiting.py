"""Why a job waits: what the rule (rules.waiting) needs, read from the database."""

from __future__ import annotations

from collections.abc import Mapping

from scheduler.jobs.clock import database_now
from scheduler.models import Allocation, Gpu, Job
from scheduler.rules.placement import Place, in_service
from scheduler.rules.states import JobState
from scheduler.rules.waiting import AHEAD_MAXIMUM, Wait, waits_because


def why_waiting(job: Job, closed: Mapping[int, str]) -> str:
    """In words for people; empty if the job is not queued. closed: why a GPU takes no jobs, as its worker reports."""
    if job.state != JobState.QUEUED:
        return ""
    wait = Wait(
        needed_mib=job.gpu_memory_mib,
        not_before=job.not_before,
        gpu=job.gpu,
        elsewhere_until=job.elsewhere_until,
        ahead=Job.objects.ahead_of(job, AHEAD_MAXIMUM + 1),
    )
    places = [_place(gpu, closed.get(gpu.index, "")) for gpu in Gpu.objects.order_by("index")]
    return waits_because(wait, places, set(Allocation.objects.values_list("gpu", flat=True)), database_now())


def _place(gpu: Gpu, reported: str) -> Place:
    because = reported
    if gpu.drained:
        because = "drained by an operator"
    elif gpu.quarantined:
        because = f"quarantined: {gpu.quarantined}"
    takes = in_service(drained=gpu.drained, quarantined=gpu.quarantined, boot=gpu.boot) and not because
    return Place(gpu=gpu.index, memory_total_mib=gpu.memory_total_mib, takes_jobs=takes, closed_because=because)
