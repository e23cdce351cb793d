"""The job that this worker holds, shared between its main process and its job process without locks or I/O.

The job process writes, the main process reads; both inherit the memory by fork, so every job process of one worker
uses the same page. The page outlives a job process: so the main process knows which job died with it.
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
#: Behind it: the pid of a job process that must be replaced before the next job.
_SPENT: Final = struct.Struct("<q")
_SPENT_OFFSET: Final = 512
#: And the pid of a job process that is loading CUDA; it may die of that.
_LOADING: Final = struct.Struct("<q")
_LOADING_OFFSET: Final = 520
#: And the monotonic seconds before which no job process loads CUDA without need, since one has died of it.
_LOAD_AGAIN: Final = struct.Struct("<d")
_LOAD_AGAIN_OFFSET: Final = 528
_NO_JOB: Final = 0

#: How often a new job process looks whether it may claim its first job.
HELD_POLL_SECONDS: Final = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldJob:
    """time_limit_seconds is 0 while the claim is in progress: then nothing runs yet."""

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
    """While the generation is odd a write is in progress, and the reader looks again."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)

    @property
    def generation(self) -> int:
        """Rises with each job that begins or ends: the same one twice means that nothing happened between."""
        return int(_GENERATION.unpack_from(self._page)[0])

    def claiming(self, job_id: int, attempt: int) -> None:
        """A new job process waits until the main process has ended the job that the one before it died with.

        Otherwise it would overwrite the only trace of that death: Celery may fork it first.
        """
        pid = os.getpid()
        while (job := self.read()) is not None and job.child_pid != pid:
            time.sleep(HELD_POLL_SECONDS)
        self._write(job_id, attempt, 0, 0, 0.0)

    def running(self, job_id: int, attempt: int, *, time_limit_seconds: int, memory_mib: int, load: float) -> None:
        self._write(job_id, attempt, time_limit_seconds, memory_mib, load)

    def progress(self, share: float) -> None:
        """0.0 to 1.0. One aligned store: cheap enough to be called in an inner loop."""
        struct.pack_into("<d", self._page, _PROGRESS_OFFSET, min(1.0, max(0.0, share)))

    def spend(self) -> None:
        """In the job process: it runs no other job, and the main process replaces it when it is idle."""
        _SPENT.pack_into(self._page, _SPENT_OFFSET, os.getpid())

    def is_spent(self, pid: int) -> bool:
        return bool(_SPENT.unpack_from(self._page, _SPENT_OFFSET)[0] == pid)

    def loads_cuda(self, *, loads: bool) -> None:
        """In the job process, before and after it loads CUDA."""
        _LOADING.pack_into(self._page, _LOADING_OFFSET, os.getpid() if loads else 0)

    def is_loading_cuda(self, pid: int) -> bool:
        return bool(_LOADING.unpack_from(self._page, _LOADING_OFFSET)[0] == pid)

    def load_cuda_again_at(self, monotonic_seconds: float) -> None:
        """In the main process: else one job process after the other dies, as fast as they are forked."""
        _LOAD_AGAIN.pack_into(self._page, _LOAD_AGAIN_OFFSET, monotonic_seconds)

    def may_load_cuda(self, now: float) -> bool:
        return bool(now >= _LOAD_AGAIN.unpack_from(self._page, _LOAD_AGAIN_OFFSET)[0])

    def release(self) -> None:
        self._write(_NO_JOB, 0, 0, 0, 0.0)

    def read(self) -> HeldJob | None:
        for _ in range(100):
            values = _LAYOUT.unpack_from(self._page)
            if values[0] % 2 == 0 and values[0] == _GENERATION.unpack_from(self._page)[0]:
                return _held(values)
        # The writer died in the middle of its few instructions: what is there is what it held.
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
