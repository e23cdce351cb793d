"""Which processes and which memory on this GPU do not belong to the job that runs there."""

from __future__ import annotations

from gpu_tasks.processes import job_processes
from scheduler.rules.gpu import GpuSample
from scheduler.rules.placement import occupied_because


def occupied(sample: GpuSample, worker_pid: int, *, idle: bool) -> str | None:
    """As the rule. Processes that have ended since the sample was taken are not on the GPU any more: they may have been
    a job's, and are no longer known as the worker's."""
    listed = {process.pid for process in sample.processes or ()}
    if not listed:
        return occupied_because(sample, (), idle=idle)
    own = {worker_pid, *job_processes.descendants_of(worker_pid)}
    ended = {pid for pid in listed - own if job_processes.born_at(pid) is None}
    return occupied_because(sample, own | ended, idle=idle)
