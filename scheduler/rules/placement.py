"""Which GPU may take which job. The hot SQL has a copy (scheduler.jobs.statements.CLAIM); a test compares them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from scheduler.rules.gpu import GpuHealth, GpuSample
from scheduler.rules.states import JobState

#: Above this core temperature a GPU that does not report its own limit takes no new job: the maximum operating
#: temperature of an A100.
TEMPERATURE_LIMIT_C: Final = 85.0

#: Memory that may be in use on a GPU that is free: the context of a worker's process that has ended its job.
IDLE_MEMORY_MIB: Final = 1024


# --- the GPU itself -------------------------------------------------------------------------------


def temperature_limit_c(sample: GpuSample) -> float:
    """The card's own, if it is known."""
    return TEMPERATURE_LIMIT_C if sample.temperature_limit_c is None else sample.temperature_limit_c


def is_hot(sample: GpuSample) -> bool:
    """An unknown temperature is not hot."""
    return sample.temperature_c is not None and sample.temperature_c > temperature_limit_c(sample)


def ineligible_because(sample: GpuSample, *, drained: bool, quarantined: str) -> str | None:
    """Why this GPU may not take the next job, in words for people; None if it may."""
    if drained:
        return "drained by an operator"
    if quarantined:
        return f"quarantined: {quarantined}"
    if sample.health is not GpuHealth.HEALTHY:
        return sample.note or f"health is {sample.health}"
    if is_hot(sample):
        return f"{sample.temperature_c:.0f} °C is above the limit of {temperature_limit_c(sample):.0f} °C"
    return None


def occupied_because(sample: GpuSample, own_pids: Collection[int], *, idle: bool) -> str | None:
    """Which other program, or which remains of an ended job, use this GPU, in words for people; None if nothing does.

    own_pids: the worker's processes. idle: the worker has run no job since a moment before the sample, so memory that
    is in use was left by an ended job.
    """
    processes = sample.processes or ()
    if foreign := [process.pid for process in processes if process.pid not in own_pids]:
        return f"process {', '.join(map(str, sorted(foreign)))} uses it, and does not belong to this worker"
    ours = [process.memory_mib for process in processes]
    if not idle or sample.memory_used_mib is None or None in ours:
        return None
    left = sample.memory_used_mib - sum(filter(None, ours))
    return f"{left} MiB of its memory are in use, and no job runs" if left > IDLE_MEMORY_MIB else None


# --- a job and a GPU ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A GPU as a waiting job sees it. takes_jobs: see in_service. closed_because: in words for people, if known."""

    gpu: int
    memory_total_mib: int | None
    takes_jobs: bool
    closed_because: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedJob:
    """What of a job's row decides on a claim. gpu: where its last attempt ran; None before the first one."""

    state: JobState
    attempt: int
    cancel_requested: bool
    not_before: datetime
    needed_mib: int
    gpu: int | None
    elsewhere_until: datetime | None


class ClaimRefusal(StrEnum):
    """Why a claim was not granted."""

    #: The hint is out of date: the job does not wait for this attempt, or not yet.
    STALE = "stale"
    GPU_BUSY = "gpu_busy"
    #: Only possible on another GPU: it needs more memory.
    TOO_BIG = "too_big"
    #: Better on another GPU: it failed here just now.
    ELSEWHERE = "elsewhere"


def in_service(*, drained: bool, quarantined: str, boot: str) -> bool:
    """Whether a GPU may run jobs by its row: it has, or had, a worker, and is neither drained nor quarantined."""
    return not drained and not quarantined and boot != ""


def fits(gpu_memory_total_mib: int | None, needed_mib: int) -> bool:
    """Whether a job's declared memory fits. A GPU of unknown size takes only jobs that need none."""
    return needed_mib <= (gpu_memory_total_mib or 0)


def is_due(not_before: datetime, now: datetime) -> bool:
    """Whether a waiting job's back-off has passed."""
    return not_before <= now


def is_current(job: ClaimedJob, attempt: int, now: datetime) -> bool:
    """Whether a hint to start this attempt now is good."""
    waits = job.state is JobState.QUEUED and job.attempt == attempt
    return waits and not job.cancel_requested and is_due(job.not_before, now)


def left_to_another(job: ClaimedJob, gpu: int, places: Sequence[Place], now: datetime) -> bool:
    """Whether the job failed on this GPU just now, and another GPU that fits takes jobs."""
    if job.gpu != gpu or job.elsewhere_until is None or job.elsewhere_until <= now:
        return False
    others = (place for place in places if place.gpu != gpu and place.takes_jobs)
    return any(fits(place.memory_total_mib, job.needed_mib) for place in others)


def claim_refusal(
    job: ClaimedJob, attempt: int, *, gpu: int, is_busy: bool, places: Sequence[Place], now: datetime
) -> ClaimRefusal | None:
    """Why this GPU may not start this attempt of the job; None if it may.

    is_busy: a job holds the GPU. places: every registered GPU. In the order of ClaimRefusal.
    """
    if not is_current(job, attempt, now):
        return ClaimRefusal.STALE
    if is_busy:
        return ClaimRefusal.GPU_BUSY
    total_mib = next((place.memory_total_mib for place in places if place.gpu == gpu), None)
    if not fits(total_mib, job.needed_mib):
        return ClaimRefusal.TOO_BIG
    return ClaimRefusal.ELSEWHERE if left_to_another(job, gpu, places, now) else None
