"""Carries faults out, for real: those of the page, the API, `inject` and the chaos scenarios, and the random faults of
jobs. All go through `carry_out`."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from types import FrameType
from typing import Final, NoReturn

from gpu_tasks.processes import helpers
from scheduler.database_errors import DatabaseFailure
from scheduler.job_type import DeviceMemoryExhausted, JobFailed
from scheduler.jobs.lifecycle import Claimed
from scheduler.logs import event_logger
from scheduler.models import ClusterEvent, Control, Gpu
from scheduler.rules.faults import FAULTS, FaultKind, FaultProfile, PlannedFault, plan_fault

log = event_logger(__name__)

#: A suspended worker resumes after this time, unless the request names another.
HANG_SECONDS: Final = 20.0

#: The job process resumes this much before its worker: as after a real hang, the late result is committed before the
#: worker can stop it.
HEAD_START_SECONDS: Final = 1.0

#: The signals with which a worker has its job process fail; nothing else uses them.
ORDERS: Final[dict[FaultKind, int]] = (
    {FaultKind.JOB_ERROR: signal.SIGRTMIN + 3, FaultKind.OUT_OF_MEMORY: signal.SIGRTMIN + 4}
    if hasattr(signal, "SIGRTMIN")
    else {}
)


class InjectedError(JobFailed):
    """An injected fault, raised in the job."""


class NothingToHit(Exception):
    """The fault needs a job process, and there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """A GPU's worker and its job process."""

    worker_pid: int
    child_pid: int | None


def carry_out(kind: FaultKind, victim: Victim, *, hang_seconds: float = HANG_SECONDS) -> None:
    """Hits living processes of this machine, perhaps the caller itself. NothingToHit if there is no job process."""
    if kind is FaultKind.WORKER_KILLED:
        os.kill(victim.worker_pid, signal.SIGKILL)
        return
    if kind is FaultKind.WORKER_HUNG:
        _hang(victim, hang_seconds)
        return
    if victim.child_pid is None:
        raise NothingToHit(f"{FAULTS[kind].label}: the worker has no job process now")
    if kind is not FaultKind.CHILD_KILLED and kind not in ORDERS:
        raise NothingToHit(f"{FAULTS[kind].label}: this operating system has no signal for it")
    os.kill(victim.child_pid, ORDERS.get(kind, signal.SIGKILL))


def resume(victim: Victim) -> None:
    """Ends a hang early; the job process first, as when the hang ends by itself."""
    for pid in (victim.child_pid, victim.worker_pid):
        if pid is not None:
            os.kill(pid, signal.SIGCONT)


def _hang(victim: Victim, seconds: float) -> None:
    """Suspends both. A helper process resumes them, even if this process is killed meanwhile."""
    child, worker = victim.child_pid, victim.worker_pid
    wake = f"kill -CONT {child}; sleep {HEAD_START_SECONDS}; " if child is not None else ""
    helpers.start(["/bin/sh", "-c", f"sleep {seconds}; {wake}kill -CONT {worker}"])
    # This process last: it does nothing after that.
    for pid in sorted(filter(None, (child, worker)), key=lambda pid: pid == os.getpid()):
        os.kill(pid, signal.SIGSTOP)


# --- in the job process ---------------------------------------------------------------------------


def ignore_orders() -> None:
    """In a worker before it forks: an order between two jobs must not end the job process."""
    for number in ORDERS.values():
        signal.signal(number, signal.SIG_IGN)


def fault_for(claimed: Claimed, gpu: int) -> PlannedFault | None:
    """The random fault that this attempt meets, if any: by the failure rate of its GPU and the cluster's profile. None
    for jobs that do not accept faults."""
    if not claimed.accepts_faults:
        return None
    control = Control.objects.values_list("fault_profile", "seed").first()
    rate = Gpu.objects.filter(index=gpu).values_list("failure_rate", flat=True).first()
    if control is None or rate is None:
        return None
    profile, seed = control
    rng = Random(f"faults:{seed}:{claimed.job_id}:{claimed.attempt}")
    return plan_fault(rng, FaultProfile(profile), rate)


@contextmanager
def striking(fault: PlannedFault | None, gpu: int, note: Callable[[FaultKind], None]) -> Iterator[None]:
    """The fault hits the job `after_seconds` into the block, or at the end of the block if that comes first. Orders of
    the worker hit it at once.

    note: called just before the hit, which may end this process.
    """

    def strike(kind: FaultKind) -> None:
        note(kind)
        _strike(kind, gpu)

    with _orders_raise(gpu):
        if fault is None:
            yield
            return
        previous = signal.signal(signal.SIGALRM, lambda *_: strike(fault.kind))
        signal.setitimer(signal.ITIMER_REAL, fault.after_seconds)
        try:
            yield
            signal.setitimer(signal.ITIMER_REAL, 0)
            strike(fault.kind)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)


@contextmanager
def _orders_raise(gpu: int) -> Iterator[None]:
    kinds = {number: kind for kind, number in ORDERS.items()}

    def on_order(number: int, frame: FrameType | None) -> None:
        log.warning("fault_ordered", kind=kinds[number], gpu=gpu)
        _raise(kinds[number])

    try:
        for number in kinds:
            signal.signal(number, on_order)
        yield
    finally:
        ignore_orders()


def _strike(kind: FaultKind, gpu: int) -> None:
    log.warning("fault_injected", kind=kind, gpu=gpu)
    record(kind, gpu)
    if kind in ORDERS:
        _raise(kind)
    carry_out(kind, Victim(worker_pid=os.getppid(), child_pid=os.getpid()))
    if kind is FaultKind.WORKER_KILLED:
        # The parent-death signal ends this process too; until then it must not commit anything.
        signal.pause()


def _raise(kind: FaultKind) -> NoReturn:
    error = DeviceMemoryExhausted if kind is FaultKind.OUT_OF_MEMORY else InjectedError
    raise error(f"injected: {FAULTS[kind].label}")


def record(kind: FaultKind, gpu: int, *, actor: str = "") -> None:
    """For people. An unavailable database does not stop the fault."""
    by = f", by {actor}" if actor else ""
    try:
        ClusterEvent.objects.create(
            kind="fault", gpu=gpu, actor=actor, message=f"GPU {gpu}: fault injected: {FAULTS[kind].label}{by}"
        )
    except DatabaseFailure as error:
        log.warning("fault_not_recorded", kind=kind, gpu=gpu, error=error)
