"""A worker takes its own GPU out of service, and puts it back when what it found is disproved."""

from __future__ import annotations

from typing import Final

from django.db.models import Q

from scheduler.logs import event_logger
from scheduler.models import ClusterEvent, Gpu

log = event_logger(__name__)

#: The first word of a quarantine that lasts until CUDA is proved to work.
CUDA_PREFIX: Final = "CUDA: "
#: Of one after a fault of the hardware: no check of the worker disproves that; a person releases the GPU.
FAULT_PREFIX: Final = "GPU fault: "


def quarantine_cuda(gpu: int, why: str) -> str:
    """The GPU takes no job until a worker has proved that CUDA works there. Returns the reason as it is stored."""
    return _quarantine(gpu, f"{CUDA_PREFIX}{why}")


def quarantine_broken(gpu: int, fault: str) -> str:
    """The GPU takes no job until a person releases it. Returns the reason as it is stored."""
    return _quarantine(gpu, f"{FAULT_PREFIX}{fault}")


def lift_quarantine(gpu: int) -> None:
    """Only one that CUDA disproves, now that it works: not what a person or the hardware has reported."""
    if Gpu.objects.filter(index=gpu, quarantined__startswith=CUDA_PREFIX).update(quarantined=""):
        log.info("quarantine_lifted", gpu=gpu)
        ClusterEvent.objects.create(kind="quarantine_lifted", gpu=gpu, message=f"GPU {gpu}: CUDA works again")


def _quarantine(gpu: int, reason: str) -> str:
    """A quarantine for another cause than CUDA stays: the first fault explains those that follow."""
    kept = reason[:120]
    replaced = Q(quarantined="") | Q(quarantined__startswith=CUDA_PREFIX)
    if Gpu.objects.filter(replaced, index=gpu).exclude(quarantined=kept).update(quarantined=kept):
        log.error("gpu_quarantined", gpu=gpu, reason=kept)
        ClusterEvent.objects.create(kind="quarantined", gpu=gpu, message=f"GPU {gpu} quarantined: {kept}"[:300])
    return kept
