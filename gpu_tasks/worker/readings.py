"""The newest reading of this worker's GPU, taken in a thread of its own: what reads it never waits for the driver."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from threading import Event
from typing import Final

from gpu_tasks.worker.held import Held
from scheduler.rules.gpu import UNKNOWN_SAMPLE, GpuBackend, GpuLoad, GpuSample

SAMPLE_SECONDS: Final = 0.5
#: An older reading is unknown. The backend itself gives up before.
STALE_SECONDS: Final = 5.0
#: At its start a worker waits this long for the first reading.
FIRST_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading:
    sample: GpuSample
    #: Monotonic seconds at which it began.
    at: float
    #: For this time before it began, and while it was taken, the worker held no job; None: it held one meanwhile.
    quiet_seconds: float | None = None


class Readings:
    """`tick` runs in the thread `sample`; `newest` in any."""

    def __init__(self, backend: GpuBackend, held: Held) -> None:
        self._backend, self._held = backend, held
        self._newest: GpuReading | None = None
        self._first = Event()
        #: The page of the held job as it was, without a job, at this monotonic second.
        self._quiet_generation = -1
        self._quiet_since = 0.0

    def tick(self, now: float) -> bool:
        """`now`: monotonic seconds. Returns whether the GPU answered."""
        generation = self._held.generation
        job = self._held.read()
        load = GpuLoad(compute_share=job.load, memory_mib=job.memory_mib) if job and job.runs else None
        sample = self._backend.sample(load, now)
        # A short job may begin and end between two readings, or within one.
        is_quiet = job is None and self._held.generation == generation
        if is_quiet and generation != self._quiet_generation:
            self._quiet_generation, self._quiet_since = generation, now
        quiet_seconds = now - self._quiet_since if is_quiet else None
        self._newest = GpuReading(sample=sample, at=now, quiet_seconds=quiet_seconds)
        self._first.set()
        return not sample.note

    def wait_for_first(self) -> None:
        """Returns after FIRST_SECONDS all the same."""
        self._first.wait(FIRST_SECONDS)

    def newest(self) -> GpuReading:
        """Its sample is unknown if there is none, or none that is new enough."""
        newest, now = self._newest, time.monotonic()
        if newest is not None and now - newest.at <= STALE_SECONDS:
            return newest
        note = "it has not been read yet" if newest is None else f"it was last read {now - newest.at:.0f} s ago"
        return GpuReading(sample=replace(UNKNOWN_SAMPLE, note=note), at=now)
