"""The valve through which hints reach this GPU: the only owner of which queues it reads, and of the note that says why
it reads none."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Final

from django.db.models.functions import Now

from gpu_tasks.worker.celery_pool import CeleryPool
from gpu_tasks.worker.commit import Commit
from gpu_tasks.worker.held import Held
from gpu_tasks.worker.occupants import occupied
from gpu_tasks.worker.readings import GpuReading
from scheduler.logs import event_logger
from scheduler.models import Allocation, Gpu, Job
from scheduler.rules.placement import ClaimRefusal, ineligible_because
from scheduler.rules.queues import PLAIN_QUEUES

log = event_logger(__name__)

#: How often the database is asked whether this GPU may take jobs.
ELIGIBILITY_SECONDS: Final = 2.0
#: A driver needs a moment to free what a job had: memory counts as left over only in a reading that began this long
#: after the job's end.
QUIET_SECONDS: Final = 2.0
#: The notes of a worker that cannot ask whether it may take jobs, and of one without a job process for the next.
DATABASE_UNAVAILABLE: Final = "the database is unavailable"
DATABASE_REFUSES: Final = "the database refuses a query of its worker; the error is in the worker's log"
REPLACING: Final = "its job process is being replaced"
_NUMBER: Final = re.compile(r"\d+")
#: The note after a hint that was returned for this reason; for any other reason, the reason itself.
RETURNED: Final[dict[str, str]] = {
    ClaimRefusal.GPU_BUSY: "another job still holds it",
    ClaimRefusal.ELSEWHERE: "a job that failed here is left to another GPU for a moment",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuUse:
    """What the child watch knows of the processes of this worker's jobs."""

    #: Processes of earlier jobs that do not end.
    left_over: Sequence[int] = ()
    #: The job process must be replaced before the next job.
    is_replacing: bool = False


@dataclass(slots=True, kw_only=True)
class Valve:
    """Shut at first. `check` opens and shuts it, in the thread `watch`; `hint_returned` shuts it, in the hub's thread;
    `shut`, in any. All that changes is behind one lock, which is never held during a query."""

    gpu: int
    boot: str
    held: Held
    commit: Commit
    pool: CeleryPool
    reading_of_gpu: Callable[[], GpuReading]
    #: Monotonic seconds at which the database last answered the thread `watch`.
    answered_at: float = field(default_factory=time.monotonic)
    _lock: Lock = field(default_factory=Lock)
    _note: str = ""
    #: What this GPU reads while it may take jobs, and what it reads now (None: Celery does not know yet).
    _readable: tuple[str, ...] = PLAIN_QUEUES
    _reading: tuple[str, ...] | None = None
    _checked_at: float = float("-inf")
    #: (job, attempt) that another GPU may take first.
    _left_to_others: tuple[int, int] | None = None
    #: Hints returned so far: a check that began before the last one is out of date.
    _returned: int = 0

    # --- what others read

    @property
    def note(self) -> str:
        """Why this GPU accepts no job, as text for operators; empty if it accepts jobs."""
        return self._note

    @property
    def reading(self) -> tuple[str, ...]:
        """The queues from which hints come now; none while the valve is shut."""
        return self._reading or ()

    def database_answered(self) -> None:
        self.answered_at = time.monotonic()

    # --- what shuts it at once

    def shut(self, note: str) -> None:
        with self._lock:
            self._set(note)

    def hint_returned(self, job_id: int, attempt: int, reason: str) -> None:
        """The job process could not follow a hint, which is now the next of its queue: it is for another GPU. Called
        in the hub's thread, so without the database."""
        with self._lock:
            self._returned += 1
            self._left_to_others = (job_id, attempt) if reason == ClaimRefusal.ELSEWHERE else None
            self._checked_at = time.monotonic()
            self._set(RETURNED.get(reason, reason))

    # --- what opens it

    def check(self, now: float, use: GpuUse) -> None:
        """Asks the database, when that is due, whether this GPU may take jobs. `now`: monotonic seconds."""
        if use.is_replacing:
            self.shut(REPLACING)
            return
        with self._lock:
            returned, left_to_others = self._returned, self._left_to_others
        if left_to_others is not None and self._may_go_to_others(*left_to_others):
            return
        if not self._is_due(now, at_once=left_to_others is not None):
            return
        self.commit.commit_kept()
        row = Gpu.objects.filter(index=self.gpu).values_list("drained", "quarantined", "memory_total_mib").first()
        self.database_answered()
        drained, quarantined, memory_mib = row or (False, "", None)
        readable = Gpu.objects.tiers().read_by(memory_mib)
        reading = self.reading_of_gpu()
        note = ineligible_because(reading.sample, drained=drained, quarantined=quarantined)
        note = note or _occupied(reading, use)
        if note is None and self._is_held_by_an_older_boot():
            note = "a job of an older worker still holds it"
        with self._lock:
            if returned == self._returned:
                self._left_to_others, self._readable = None, readable
                self._set(note or "")

    def _may_go_to_others(self, job_id: int, attempt: int) -> bool:
        """Until a GPU took it, or its time has passed: then this GPU may take jobs again at once."""
        found = Job.objects.due().filter(id=job_id, attempt=attempt, elsewhere_until__gt=Now()).exists()
        self.database_answered()
        return found

    def _is_due(self, now: float, *, at_once: bool) -> bool:
        """Notes that it is asked: a database that fails now is asked again after a whole period."""
        with self._lock:
            if not at_once and self._note != REPLACING and now - self._checked_at < ELIGIBILITY_SECONDS:
                return False
            self._checked_at = now
            return True

    def _is_held_by_an_older_boot(self) -> bool:
        if self.held.read() is not None or not Allocation.objects.filter(gpu=self.gpu).exists():
            return False
        # Not by this worker's job process, which may have claimed a job since the first of the two looks.
        return Job.objects.running().filter(gpu=self.gpu).exclude(boot=self.boot).exists()

    def _set(self, note: str) -> None:
        """Behind the lock: so Celery gets them in the order of the decisions."""
        # A temperature, or the seconds of a silence, is no news.
        if _NUMBER.sub("", note) != _NUMBER.sub("", self._note):
            log.info("gpu_not_eligible" if note else "gpu_eligible", gpu=self.gpu, note=note)
        self._note = note
        reading = () if note else self._readable
        if reading != self._reading:
            self._reading = reading
            self.pool.consume(reading)


def _occupied(reading: GpuReading, use: GpuUse) -> str | None:
    """Any other process on this GPU, also of a job that has ended."""
    if use.left_over:
        return f"process {', '.join(map(str, use.left_over))} of an earlier job does not end"
    is_idle = reading.quiet_seconds is not None and reading.quiet_seconds >= QUIET_SECONDS
    return occupied(reading.sample, os.getpid(), idle=is_idle)
