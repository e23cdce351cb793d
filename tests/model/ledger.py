"""What should be: each job as the promises say it is, kept in plain Python with literals of its own.

Shares no code with the lifecycle that it foretells. Times are the database's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

CHARGED: Final = {"child_died", "worker_died", "worker_restarted", "gpu_fault"}
ENDS: Final = {"succeeded", "failed", "cancelled"}
#: Seconds to wait after the first, second, ... charged failure.
BACK_OFF_SECONDS: Final = (1, 2, 4, 8, 15)
#: For so long after that another GPU is preferred.
ELSEWHERE_SECONDS: Final = 2

#: Of each GPU: two sizes, so that the large one has queues of its own.
MEMORY_MIB: Final = {0: 16_384, 1: 81_559, 2: 81_559}

type Key = tuple[int, int]


class PromiseBroken(AssertionError):
    """The product did what it must not, or did not do what it must."""

    def __init__(self, promise: str, words: str) -> None:
        super().__init__(f"{promise}: {words}")
        self.promise = promise


def promise(name: str, holds: bool, words: str) -> None:
    if not holds:
        raise PromiseBroken(name, words)


@dataclass(slots=True, kw_only=True)
class JobShould:
    id: int
    priority: str
    max_failures: int
    #: GPU memory that it needs, and the queue that follows from it.
    memory_mib: int
    queue: str
    queued_at: datetime
    due_at: datetime
    state: str = "queued"
    attempt: int = 1
    failures: int = 0
    cancel_requested: bool = False
    #: Where it runs, or ran last.
    gpu: int | None = None
    boot: str = ""
    elsewhere_until: datetime | None = None
    #: Why it left the state before.
    reason: str = ""
    result: Any = None
    #: (kind, attempt, charged) of each event.
    story: list[tuple[str, int, bool]] = field(default_factory=lambda: [("submitted", 1, False)])

    @property
    def key(self) -> Key:
        return self.id, self.attempt


@dataclass(slots=True)
class Ledger:
    jobs: dict[int, JobShould] = field(default_factory=dict)
    starts: int = 0
    refused: int = 0
    #: GPUs that an operator has drained.
    drained: set[int] = field(default_factory=set)

    def in_state(self, *states: str) -> list[JobShould]:
        return [job for job in self.jobs.values() if job.state in states]

    def running_on(self, gpu: int) -> JobShould | None:
        return next((job for job in self.in_state("running") if job.gpu == gpu), None)

    def due(self, now: datetime) -> list[JobShould]:
        return [job for job in self.in_state("queued") if job.due_at <= now]

    # --- moves: each gives the answer that the product owes

    def submit(self, job_id: int, priority: str, max_failures: int, memory_mib: int, now: datetime) -> None:
        promise("ids are new", job_id not in self.jobs, f"job {job_id} was submitted before")
        self.jobs[job_id] = JobShould(
            id=job_id,
            priority=priority,
            max_failures=max_failures,
            memory_mib=memory_mib,
            queue=priority if memory_mib <= MEMORY_MIB[0] else f"{priority}.80g",
            queued_at=now,
            due_at=now,
        )

    def claim(self, key: Key, gpu: int, boot: str, now: datetime) -> str:
        job = self.jobs.get(key[0])
        if job is None or job.state != "queued" or job.key != key or job.due_at > now:
            return "stale"
        if self.running_on(gpu) is not None:
            return "gpu_busy"
        if job.memory_mib > MEMORY_MIB[gpu]:
            return "too_big"
        if self._is_better_elsewhere(job, gpu, now):
            return "elsewhere"
        job.state, job.gpu, job.boot = "running", gpu, boot
        job.story.append(("started", job.attempt, False))
        self.starts += 1
        return "claimed"

    def end(self, key: Key, state: str, reason: str, result: Any) -> bool:
        job = self._running(key)
        if job is None:
            self.refused += 1
            return False
        self._end(job, state, reason)
        job.result = result
        return True

    def requeue(self, key: Key, reason: str, now: datetime) -> str | None:
        job = self._running(key)
        if job is None:
            return None
        charged = reason in CHARGED
        job.failures += charged
        if job.cancel_requested:
            self._end(job, "cancelled", reason, charged=charged)
        elif job.failures >= job.max_failures:
            self._end(job, "failed", "exhausted", charged=charged)
        else:
            self._wait_again(job, reason, charged, now)
        return job.state

    def cancel(self, job_id: int) -> str:
        job = self.jobs[job_id]
        if job.state in ENDS:
            return "already_ended"
        if job.state == "queued":
            job.cancel_requested = True
            self._end(job, "cancelled", "cancel")
            return "cancelled"
        if not job.cancel_requested:
            job.cancel_requested = True
            job.story.append(("cancel_requested", job.attempt, False))
        return "requested"

    def release(self, gpu: int, boot: str, now: datetime) -> list[int]:
        """What an older boot left on this GPU is requeued."""
        left = [job for job in self.in_state("running") if job.gpu == gpu and job.boot != boot]
        for job in left:
            self.requeue(job.key, "worker_restarted", now)
        return [job.id for job in left]

    # --- parts

    def _is_better_elsewhere(self, job: JobShould, gpu: int, now: datetime) -> bool:
        """It failed on this GPU just now, and another one that it fits takes jobs."""
        failed_here = job.gpu == gpu and job.elsewhere_until is not None and job.elsewhere_until > now
        others = [other for other, mib in MEMORY_MIB.items() if other != gpu and mib >= job.memory_mib]
        return failed_here and any(other not in self.drained for other in others)

    def _running(self, key: Key) -> JobShould | None:
        job = self.jobs.get(key[0])
        return job if job is not None and job.state == "running" and job.key == key else None

    def _end(self, job: JobShould, state: str, reason: str, *, charged: bool = False) -> None:
        job.state, job.reason = state, reason
        job.story.append((state, job.attempt, charged))

    def _wait_again(self, job: JobShould, reason: str, charged: bool, now: datetime) -> None:
        job.story.append(("requeued", job.attempt, charged))
        job.state, job.reason, job.attempt = "queued", reason, job.attempt + 1
        wait = BACK_OFF_SECONDS[min(job.failures, len(BACK_OFF_SECONDS)) - 1] if charged else 0
        job.queued_at, job.due_at = now, now + timedelta(seconds=wait)
        job.elsewhere_until = job.due_at + timedelta(seconds=ELSEWHERE_SECONDS) if charged else None
