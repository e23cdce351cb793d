"""Carries a planned fault out, for real, in the job's own process."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from types import FrameType

from django.db import DatabaseError

from gpu_tasks.witness import Saw, Witness
from scheduler.faults import FAULTS, FaultKind, FaultProfile, PlannedFault, plan_fault
from scheduler.job_type import DeviceMemoryExhausted, JobFailed
from scheduler.lifecycle import Claimed
from scheduler.logs import event_logger
from scheduler.models import ClusterEvent, Control, Gpu

log = event_logger(__name__)


class InjectedError(JobFailed):
    """A fault that the cluster itself raised in the job."""


def fault_for(claimed: Claimed, gpu: int) -> PlannedFault | None:
    """Decides this start: only jobs that accept faults, with the rate of this GPU and the cluster's profile."""
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
def striking(fault: PlannedFault | None, claimed: Claimed, gpu: int, witness: Witness) -> Iterator[None]:
    """The fault strikes `after_seconds` into the block, or at its end if that comes first."""
    if fault is None:
        yield
        return

    def strike() -> None:
        witness.saw(Saw.STRIKE, claimed.job_id, claimed.attempt, kind=fault.kind)
        _strike(fault.kind, gpu)

    def on_alarm(signum: int, frame: FrameType | None) -> None:
        strike()

    previous = signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, fault.after_seconds)
    try:
        yield
        signal.setitimer(signal.ITIMER_REAL, 0)
        strike()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _strike(kind: FaultKind, gpu: int) -> None:
    label = FAULTS[kind].label
    log.warning("fault_injected", kind=kind, gpu=gpu)
    try:
        ClusterEvent.objects.create(kind="fault", gpu=gpu, message=f"GPU {gpu}: fault injected: {label}")
    except DatabaseError as error:
        log.warning("fault_not_recorded", kind=kind, gpu=gpu, error=error)
    match kind:
        case FaultKind.JOB_ERROR:
            raise InjectedError(f"injected: {label}")
        case FaultKind.OUT_OF_MEMORY:
            raise DeviceMemoryExhausted(f"injected: {label}")
        case FaultKind.CHILD_KILLED:
            os.kill(os.getpid(), signal.SIGKILL)
        case FaultKind.WORKER_KILLED:
            os.kill(os.getppid(), signal.SIGKILL)
            # The parent-death signal ends this process too; it must not commit anything meanwhile.
            signal.pause()
