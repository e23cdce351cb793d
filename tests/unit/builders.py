"""Valid values; a test states only what matters to it."""

from __future__ import annotations

from typing import Any

from gpu_tasks.worker.readings import GpuReading
from scheduler.job_type import JobContext
from scheduler.rules.gpu import GpuHealth, GpuSample


def a_context(**changes: Any) -> JobContext:
    values = {
        "job_id": 7,
        "attempt": 1,
        "gpu_index": 0,
        "has_cuda": False,
        "progress": lambda share: None,
        "seed": 11,
    }
    return JobContext(**(values | changes))


def a_sample(**changes: Any) -> GpuSample:
    values = {
        "health": GpuHealth.HEALTHY,
        "utilization_percent": 90.0,
        "memory_used_mib": 4_096,
        "memory_total_mib": 81_559,
        "temperature_c": 60.0,
        "power_w": 600.0,
    }
    return GpuSample(**(values | changes))


def a_reading(*, quiet_seconds: float | None = None, **changes: Any) -> GpuReading:
    """Taken while a job ran, unless quiet_seconds says otherwise."""
    return GpuReading(sample=a_sample(**changes), at=0.0, quiet_seconds=quiet_seconds)
