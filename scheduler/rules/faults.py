"""Faults that act for real: their table, the profiles that decide which one hits a job, and the errors by which a real
GPU shows that its hardware has failed."""

from __future__ import annotations

import re
from collections.abc import Iterable
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


# --- faults of the hardware ----------------------------------------------------------------------

#: Xid errors after which a GPU is taken out of service, and the driver's words for them. Source: NVIDIA's catalogue of
#: Xid errors: those whose action is a reset, a reboot, or the end of the application because memory is corrupt. Errors
#: that the application causes (13, 31, 43, 45) and corrected ones (63, 92) are not here.
XID_FAULTS: Final[dict[int, str]] = {
    48: "double-bit ECC error",
    64: "row remapping failed",
    74: "NVLink error",
    79: "the GPU has fallen off the bus",
    94: "contained memory error",
    95: "uncontained memory error",
    109: "context switch timeout",
    119: "GSP timeout",
    120: "GSP error",
    140: "unrecovered ECC error",
    143: "GPU initialization error",
}

#: Errors of CUDA that a job does not cause: names of the runtime and of the driver, and the message, which is all that
#: PyTorch shows ("CUDA error: .."). An illegal address, a failed launch, no device, may be the job's own: NVML decides.
CUDA_FAULTS: Final[tuple[tuple[str, str, str], ...]] = (
    ("cudaErrorDevicesUnavailable", "CUDA_ERROR_DEVICE_UNAVAILABLE", "CUDA-capable device(s) is/are busy or"),
    ("cudaErrorECCUncorrectable", "CUDA_ERROR_ECC_UNCORRECTABLE", "uncorrectable ECC error encountered"),
    ("cudaErrorNvlinkUncorrectable", "CUDA_ERROR_NVLINK_UNCORRECTABLE", "uncorrectable NVLink error detected"),
    ("cudaErrorSystemNotReady", "CUDA_ERROR_SYSTEM_NOT_READY", "system not yet initialized"),
    ("cudaErrorSystemDriverMismatch", "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "system has unsupported display driver"),
)

_CUDA_NAME: Final = re.compile(r"\b(?:cudaError\w+|CUDA_ERROR_\w+)")
_CUDA_MESSAGE: Final = re.compile(r"\bCUDA error: ([^\n]+)")


def xid_fault(xid: int) -> str | None:
    """In words for people; None if this Xid error does not mean that the GPU is broken."""
    return f"Xid {xid}: {XID_FAULTS[xid]}" if xid in XID_FAULTS else None


def names_cuda(message: str) -> bool:
    """Whether an error's message is one of CUDA's."""
    return bool(_CUDA_NAME.search(message) or _CUDA_MESSAGE.search(message))


def cuda_fault(messages: Iterable[str]) -> str | None:
    """The first of these messages of errors by which CUDA says that the GPU is broken, as CUDA's name for it; None if
    there is none."""
    for message in messages:
        names = set(_CUDA_NAME.findall(message))
        said = [each.strip() for each in _CUDA_MESSAGE.findall(message)]
        for runtime_name, driver_name, text in CUDA_FAULTS:
            if names & {runtime_name, driver_name} or any(each.startswith(text) for each in said):
                return runtime_name
    return None
