"""The GPUs as a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from cluster_dashboard.console.screen import data, state, table
from cluster_dashboard.console.text import duration, memory

if TYPE_CHECKING:
    from cluster_dashboard.api.gpus import GpuInfo


def gpu_table(gpus: Iterable[GpuInfo]) -> Table:
    columns = (">GPU", "STATE", "JOB OR NOTE", ">MEMORY", ">TEMP", ">POWER", ">BEAT")
    return table(columns, [_row(gpu) for gpu in gpus], cut="JOB OR NOTE")


def _row(gpu: GpuInfo) -> list[Text]:
    # A quarantine's reason is known while the broker is unavailable too.
    note = gpu.note or gpu.quarantined
    return [
        data(gpu.index),
        state(gpu.state or "unknown"),
        data(note, "yellow") if gpu.job is None else data(f"{gpu.job.id} {gpu.job.name}"),
        data(memory(gpu.memory_used_mib, gpu.memory_total_mib)),
        data(None if gpu.temperature_c is None else f"{gpu.temperature_c:.0f} °C"),
        data(None if gpu.power_w is None else f"{gpu.power_w:.0f} W"),
        data(duration(gpu.heartbeat_age_s)),
    ]
