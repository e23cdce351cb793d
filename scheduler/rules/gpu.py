"""A GPU as the rules see it: one sample, its state, and whether it may take a job."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol


class GpuHealth(StrEnum):
    HEALTHY = "healthy"
    UNKNOWN = "unknown"
    FAULT = "fault"


class GpuState(StrEnum):
    """What the page shows for a GPU."""

    BUSY = "busy"
    IDLE = "idle"
    DRAINING = "draining"
    HOT = "hot"
    FAULT = "fault"
    UNKNOWN = "unknown"
    OFFLINE = "offline"


#: States in which a GPU takes no job until an operator or its worker acts. A hot GPU only cools down.
OFF_STATES: Final = frozenset({GpuState.DRAINING, GpuState.FAULT, GpuState.UNKNOWN, GpuState.OFFLINE})


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuIdentity:
    """What does not change while the machine is up."""

    index: int
    uuid: str | None
    name: str | None
    memory_total_mib: int | None
    power_limit_w: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuProcess:
    """A process that computes on a GPU, as its driver sees it."""

    pid: int
    memory_mib: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSample:
    """One reading. What the backend cannot tell is None, never a made-up number."""

    health: GpuHealth
    utilization_percent: float | None
    memory_used_mib: int | None
    memory_total_mib: int | None
    temperature_c: float | None
    power_w: float | None
    #: Those of this machine that the driver names, ours among them.
    processes: tuple[GpuProcess, ...] | None = None
    #: The number of the latest Xid error since our worker began to listen; 0: none. It stays until the next one.
    last_xid: int | None = None


UNKNOWN_SAMPLE: Final = GpuSample(
    health=GpuHealth.UNKNOWN,
    utilization_percent=None,
    memory_used_mib=None,
    memory_total_mib=None,
    temperature_c=None,
    power_w=None,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuLoad:
    """What runs on the GPU now, as a simulated GPU needs to know it."""

    compute_share: float
    memory_mib: int


class GpuBackend(Protocol):
    """One GPU. `sample` never raises for a GPU that is gone: it says unknown."""

    def identity(self) -> GpuIdentity: ...

    def sample(self, load: GpuLoad | None, now_seconds: float) -> GpuSample:
        """load: what our worker runs there (real hardware ignores it); now_seconds: monotonic."""
        ...


#: Above this core temperature a GPU takes no new job (maximum operating temperature of an H100 or A100).
TEMPERATURE_LIMIT_C: Final = 85.0


def ineligible_because(sample: GpuSample, *, drained: bool, quarantined: str) -> str | None:
    """Why this GPU may not take the next job, in words for people; None if it may."""
    if drained:
        return "drained by an operator"
    if quarantined:
        return f"quarantined: {quarantined}"
    if sample.health is not GpuHealth.HEALTHY:
        return f"health is {sample.health}"
    if sample.temperature_c is not None and sample.temperature_c > TEMPERATURE_LIMIT_C:
        return f"{sample.temperature_c:.0f} °C is above the limit of {TEMPERATURE_LIMIT_C:.0f} °C"
    return None


#: What may be in use on a GPU that is free: the context of a process of ours that has ended its job.
IDLE_MEMORY_MIB: Final = 1024


def occupied_because(sample: GpuSample, own_pids: Collection[int], *, idle: bool) -> str | None:
    """What somebody else, or a job that has ended, still does on this GPU; None if nothing.

    idle: no job of ours has run since a moment before the sample, so whatever memory is in use is a left-over.
    """
    processes = sample.processes or ()
    if foreign := [process.pid for process in processes if process.pid not in own_pids]:
        return f"process {', '.join(map(str, sorted(foreign)))} uses it, and is none of this worker's"
    ours = [process.memory_mib for process in processes]
    if not idle or sample.memory_used_mib is None or None in ours:
        return None
    left = sample.memory_used_mib - sum(filter(None, ours))
    return f"{left} MiB of its memory are in use, and no job runs" if left > IDLE_MEMORY_MIB else None


def fits(gpu_memory_total_mib: int | None, needed_mib: int) -> bool:
    """Whether a job's declared memory fits. A GPU of unknown size takes only jobs that need none."""
    return needed_mib <= (gpu_memory_total_mib or 0)


def shown_state(*, health: GpuHealth, drained: bool, quarantined: str, hot: bool, busy: bool, alive: bool) -> GpuState:
    """The one word for the page; the worst news wins."""
    if not alive:
        return GpuState.OFFLINE
    if health is GpuHealth.FAULT or quarantined:
        return GpuState.FAULT
    if health is GpuHealth.UNKNOWN:
        return GpuState.UNKNOWN
    if drained:
        return GpuState.DRAINING
    if hot:
        return GpuState.HOT
    return GpuState.BUSY if busy else GpuState.IDLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A GPU as a waiting job sees it."""

    gpu: int
    memory_total_mib: int | None
    takes_jobs: bool


def waits_because(needed_mib: int, places: Sequence[Place]) -> str:
    """Why no GPU can take a job of this size now, in words for people; empty if one can, or none is known."""
    fitting = [place for place in places if fits(place.memory_total_mib, needed_mib)]
    if not places or any(place.takes_jobs for place in fitting):
        return ""
    if not fitting:
        largest_mib = max(place.memory_total_mib or 0 for place in places)
        return f"it needs {needed_mib} MiB of GPU memory; the largest GPU has {largest_mib}"
    names = ", ".join(str(place.gpu) for place in fitting)
    return f"no GPU with {needed_mib} MiB of memory takes jobs now (of that size: {names})"
