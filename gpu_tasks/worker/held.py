"""The job this worker holds, shared between its main process and its child without locks or I/O.

The child writes, the main process reads; the memory is inherited by fork, so every child of one worker
uses the same page. It outlives a child that dies: that is how the main process knows what died with it.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from dataclasses import dataclass
from typing import Final

#: generation, job, attempt, writer's pid, time limit in s, GPU memory in MiB, load, progress
_LAYOUT: Final = struct.Struct("<qqqqqqdd")
_GENERATION: Final = struct.Struct("<q")
_PROGRESS_OFFSET: Final = _LAYOUT.size - 8
#: Behind it: the pid of a child that must be replaced before the next job.
_SPENT: Final = struct.Struct("<q")
_SPENT_OFFSET: Final = 512
_NO_JOB: Final = 0

#: How often a new child looks whether it may take its first job.
BURIAL_POLL_SECONDS: Final = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldJob:
    """time_limit_seconds is 0 while the claim is under way: then nothing runs yet."""

    job_id: int
    attempt: int
    child_pid: int
    time_limit_seconds: int
    memory_mib: int
    load: float
    progress: float

    @property
    def key(self) -> tuple[int, int]:
        return self.job_id, self.attempt

    @property
    def runs(self) -> bool:
        return self.time_limit_seconds > 0


class Held:
    """Odd generation: a write is under way; the reader looks again."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)

    def claiming(self, job_id: int, attempt: int) -> None:
        """A new child waits until the main process has buried what the one before it died with.

        Else it would write over the only trace of that death: Celery may fork it first.
        """
        pid = os.getpid()
        while (job := self.read()) is not None and job.child_pid != pid:
            time.sleep(BURIAL_POLL_SECONDS)
        self._write(job_id, attempt, 0, 0, 0.0)

    def running(self, job_id: int, attempt: int, *, time_limit_seconds: int, memory_mib: int, load: float) -> None:
        self._write(job_id, attempt, time_limit_seconds, memory_mib, load)

    def progress(self, share: float) -> None:
        """0.0 to 1.0. One aligned store: cheap enough to be called in an inner loop."""
        struct.pack_into("<d", self._page, _PROGRESS_OFFSET, min(1.0, max(0.0, share)))

    def spend(self) -> None:
        """In the child: this process runs no other job; the main process replaces it when it is idle."""
        _SPENT.pack_into(self._page, _SPENT_OFFSET, os.getpid())

    def is_spent(self, pid: int) -> bool:
        return bool(_SPENT.unpack_from(self._page, _SPENT_OFFSET)[0] == pid)

    def release(self) -> None:
        self._write(_NO_JOB, 0, 0, 0, 0.0)

    def read(self) -> HeldJob | None:
        for _ in range(100):
            values = _LAYOUT.unpack_from(self._page)
            if values[0] % 2 == 0 and values[0] == _GENERATION.unpack_from(self._page)[0]:
                return _held(values)
        # The writer died within its few instructions: what it held is what stands there.
        return _held(values)

    def _write(self, job_id: int, attempt: int, limit: int, memory: int, load: float) -> None:
        generation: int = _GENERATION.unpack_from(self._page)[0] | 1
        _GENERATION.pack_into(self._page, 0, generation)
        _LAYOUT.pack_into(self._page, 0, generation, job_id, attempt, os.getpid(), limit, memory, load, 0.0)
        _GENERATION.pack_into(self._page, 0, generation + 1)


def _held(values: tuple[int, int, int, int, int, int, float, float]) -> HeldJob | None:
    _, job_id, attempt, pid, limit, memory, load, progress = values
    if job_id == _NO_JOB:
        return None
    return HeldJob(
        job_id=job_id,
        attempt=attempt,
        child_pid=pid,
        time_limit_seconds=limit,
        memory_mib=memory,
        load=load,
        progress=progress,
    )
