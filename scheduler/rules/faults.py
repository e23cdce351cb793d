"""Faults that act for real: their table, and the profiles that decide which one hits a job."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

from scheduler.rules.states import Reason
from scheduler.rules.words import Word


class FaultKind(Word):
    JOB_ERROR = "job_error"
    OUT_OF_MEMORY = "out_of_memory"
    CHILD_KILLED = "child_killed"
    WORKER_KILLED = "worker_killed"
    WORKER_HUNG = "worker_hung"


class FaultProfile(Word):
    DEMO = "demo"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultEffect:
    """reason: of the job's move. retried: whether the job is requeued (and charged)."""

    label: str
    reason: Reason
    retried: bool


FAULTS: Final[dict[FaultKind, FaultEffect]] = {
    FaultKind.JOB_ERROR: FaultEffect(label="Job error", reason=Reason.INJECTED_ERROR, retried=False),
    FaultKind.OUT_OF_MEMORY: FaultEffect(label="Out of memory", reason=Reason.OUT_OF_MEMORY, retried=False),
    FaultKind.CHILD_KILLED: FaultEffect(label="Job process killed", reason=Reason.CHILD_DIED, retried=True),
    FaultKind.WORKER_KILLED: FaultEffect(label="Worker killed", reason=Reason.WORKER_DIED, retried=True),
    FaultKind.WORKER_HUNG: FaultEffect(label="Worker hung", reason=Reason.WORKER_DIED, retried=True),
}

#: Weights by kind. An assumption for demonstrations: most failures are the job's own (Philly, ATC'19:
#: more than 95 % of failures by count are user or software errors), some are the machine's.
PROFILES: Final[dict[FaultProfile, dict[FaultKind, float]]] = {
    FaultProfile.DEMO: {
        FaultKind.JOB_ERROR: 0.60,
        FaultKind.OUT_OF_MEMORY: 0.15,
        FaultKind.CHILD_KILLED: 0.10,
        FaultKind.WORKER_KILLED: 0.15,
    },
    FaultProfile.NONE: {},
}

#: Failure rates of a fresh cluster spread over this range, GPU by GPU.
FAILURE_RATE_FIRST: Final = 0.05
FAILURE_RATE_LAST: Final = 0.12


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedFault:
    """A fault and its time, in seconds after the job's start."""

    kind: FaultKind
    after_seconds: float


def default_failure_rate(index: int, gpu_count: int) -> float:
    """5 % on the first GPU to 12 % on the last one."""
    if gpu_count < 2:
        return FAILURE_RATE_FIRST
    return round(FAILURE_RATE_FIRST + (FAILURE_RATE_LAST - FAILURE_RATE_FIRST) * index / (gpu_count - 1), 4)


def plan_fault(rng: Random, profile: FaultProfile, failure_rate: float) -> PlannedFault | None:
    """For one attempt of a job: with probability `failure_rate` a fault of the profile, else None."""
    weights = PROFILES[profile]
    if not weights or rng.random() >= failure_rate:
        return None
    kind = rng.choices(list(weights), weights=list(weights.values()))[0]
    return PlannedFault(kind=kind, after_seconds=rng.uniform(0.2, 2.0))
