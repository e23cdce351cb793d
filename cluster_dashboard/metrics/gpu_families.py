"""The metrics of each GPU: what the database holds of it, and what its worker reports now."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric

from cluster_dashboard.live.read import RedisView
from cluster_dashboard.live.snapshot import GpuNow, gpu_now
from cluster_dashboard.metrics.builders import by_gpu, gauge
from cluster_dashboard.metrics.numbers import DatabaseNumbers
from scheduler.models import Gpu
from scheduler.rules.gpu import GpuState

_MIB: Final = 1024 * 1024

type Reading = Callable[[GpuNow], float | None]


def gpu_rows(database: DatabaseNumbers) -> Iterator[Metric]:
    """What the database holds of each GPU."""
    info = gauge("gpu_info", "Always 1; the labels describe the GPU", ["gpu", "uuid", "name", "host", "backend"])
    for gpu in database.gpus:
        info.add_metric([str(gpu.index), gpu.uuid, gpu.name, gpu.host, gpu.backend], 1)
    yield info
    yield by_gpu(
        "gpu_failure_rate",
        "Probability that a random fault hits an attempt of a generated job on this GPU",
        _rows(database, "failure_rate"),
    )
    yield by_gpu("gpu_drained", "1 while the GPU is drained by an operator", _rows(database, "drained"))
    quarantined = [(gpu, bool(gpu.quarantined)) for gpu in database.gpus]
    yield by_gpu("gpu_quarantined", "1 while the GPU is quarantined by the cluster", quarantined)
    yield by_gpu(
        "gpu_memory_total_bytes", "Total memory", [(gpu, _times(gpu.memory_total_mib, _MIB)) for gpu in database.gpus]
    )
    yield by_gpu("gpu_power_limit_watts", "Power limit", _rows(database, "power_limit_w"))
    uptimes = [(gpu, _age(database.now, gpu.booted_at)) for gpu in database.gpus]
    yield by_gpu("gpu_worker_uptime_seconds", "Seconds since the worker of the GPU registered", uptimes)


def gpus_now(database: DatabaseNumbers, live: RedisView) -> Iterator[Metric]:
    """What the worker of each GPU reports now; a stale sample is left out."""
    now = [(gpu, gpu_now(gpu, live, busy=gpu.index in database.busy)) for gpu in database.gpus]
    states = gauge("gpu_state", "1 for the state of the GPU, 0 for the others", ["gpu", "state"])
    for gpu, values in now:
        for state in GpuState:
            states.add_metric([str(gpu.index), state], values.state is state)
    yield states
    readings: tuple[tuple[str, str, Reading, float], ...] = (
        (
            "gpu_heartbeat_age_seconds",
            "Seconds since the last heartbeat of the worker",
            lambda each: each.heartbeat_age_s,
            1,
        ),
        (
            "gpu_utilization_ratio",
            "Share of the time in which the GPU computed, 0 to 1",
            lambda each: each.utilization_percent,
            0.01,
        ),
        ("gpu_memory_used_bytes", "Memory in use", lambda each: each.memory_used_mib, _MIB),
        ("gpu_temperature_celsius", "Temperature", lambda each: each.temperature_c, 1),
        (
            "gpu_temperature_limit_celsius",
            "Temperature above which the GPU takes no job",
            lambda each: each.temperature_limit_c,
            1,
        ),
        ("gpu_power_watts", "Power draw", lambda each: each.power_w, 1),
        ("gpu_sm_clock_hertz", "Clock of the multiprocessors", lambda each: each.sm_clock_mhz, 1e6),
    )
    for name, words, reading, factor in readings:
        yield by_gpu(name, words, [(gpu, _times(reading(values), factor)) for gpu, values in now])
    yield from _as_dcgm(now)


def _as_dcgm(now: list[tuple[Gpu, GpuNow]]) -> Iterator[Metric]:
    """The same under the names, units and labels of NVIDIA's DCGM exporter, for existing dashboards."""
    readings: tuple[tuple[str, str, Callable[[Gpu, GpuNow], float | None]], ...] = (
        ("DCGM_FI_DEV_GPU_UTIL", "GPU utilization (in %).", lambda _, each: each.utilization_percent),
        ("DCGM_FI_DEV_FB_USED", "Framebuffer memory used (in MiB).", lambda _, each: each.memory_used_mib),
        ("DCGM_FI_DEV_FB_FREE", "Framebuffer memory free (in MiB).", _free_mib),
        ("DCGM_FI_DEV_GPU_TEMP", "GPU temperature (in C).", lambda _, each: each.temperature_c),
        ("DCGM_FI_DEV_POWER_USAGE", "Power draw (in W).", lambda _, each: each.power_w),
        ("DCGM_FI_DEV_SM_CLOCK", "SM clock frequency (in MHz).", lambda _, each: each.sm_clock_mhz),
        ("DCGM_FI_DEV_XID_ERRORS", "Value of the last XID error encountered.", lambda _, each: each.last_xid),
    )
    for name, words, reading in readings:
        family = GaugeMetricFamily(name, words, labels=["gpu", "UUID", "device", "modelName", "Hostname"])
        for gpu, values in now:
            if (value := reading(gpu, values)) is not None:
                labels = [str(gpu.index), gpu.uuid, f"nvidia{gpu.index}", gpu.name, gpu.host]
                family.add_metric(labels, value)
        yield family


def _free_mib(gpu: Gpu, now: GpuNow) -> float | None:
    used, total = now.memory_used_mib, gpu.memory_total_mib
    return None if used is None or total is None else total - used


def _rows(database: DatabaseNumbers, name: str) -> list[tuple[Gpu, float | None]]:
    return [(gpu, getattr(gpu, name)) for gpu in database.gpus]


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _age(now: datetime, since: datetime | None) -> float | None:
    return None if since is None else (now - since).total_seconds()
