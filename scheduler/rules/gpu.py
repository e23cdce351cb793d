"""A GPU as the rules see it: its identity, one sample, and its state. Whether it accepts a job: placement.py."""

from __future__ import annotations

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
class GpuFault:
    """The hardware has failed. number: 1 for the first one that this process has noticed, 2 for the next."""

    number: int
    #: For people: what the driver reported.
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSample:
    """One reading. What the backend does not know is None, never a made-up number."""

    health: GpuHealth
    utilization_percent: float | None
    memory_used_mib: int | None
    memory_total_mib: int | None
    temperature_c: float | None
    power_w: float | None
    #: Above this temperature the card throttles itself. None: it does not report it.
    temperature_limit_c: float | None = None
    #: Of the streaming multiprocessors, in MHz.
    sm_clock_mhz: float | None = None
    #: The processes of this machine that the driver lists, those of this cluster included. None: not known.
    processes: tuple[GpuProcess, ...] | None = None
    #: The number of the latest Xid error since the worker started to listen; 0: none. Kept until the next one.
    last_xid: int | None = None
    #: The latest fault of the hardware; kept until the next one.
    last_fault: GpuFault | None = None
    #: Why the GPU is not healthy, in words for people, if known.
    note: str = ""


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
    """One GPU. `sample` never raises for a GPU that is gone: it returns unknown health."""

    def identity(self) -> GpuIdentity: ...

    def sample(self, load: GpuLoad | None, now_seconds: float) -> GpuSample:
        """load: what the worker runs there (real hardware ignores it); now_seconds: monotonic."""
        ...


def shown_state(*, health: GpuHealth, drained: bool, quarantined: str, hot: bool, busy: bool, alive: bool) -> GpuState:
    """The one word that people are shown; of several conditions, the worst."""
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
