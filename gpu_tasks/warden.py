"""Watches the worker's child: its death, a cancel, the time limit, a claim that was lost; opens and shuts
the valve through which hints come. From a thread of its own, with the database."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

from django.db import DatabaseError, close_old_connections

from gpu_tasks import fork_guard
from gpu_tasks.held import Held, HeldJob
from gpu_tasks.pulse import Standing
from gpu_tasks.spool import Ending, Spool
from scheduler import lifecycle
from scheduler.gpu import GpuSample, ineligible_because
from scheduler.logs import event_logger
from scheduler.models import Allocation, ClusterEvent, Gpu, Job
from scheduler.queues import PLAIN_QUEUES
from scheduler.states import JobState, Reason

log = event_logger(__name__)

PERIOD_SECONDS: Final = 0.25
#: How often the database is asked whether the claim stands and nobody cancelled.
CLAIM_SECONDS: Final = 1.0
#: How often the database is asked whether this GPU may take jobs.
ELIGIBILITY_SECONDS: Final = 2.0
#: At a stop, a running job has so long to end by itself before it goes back to the queue.
GRACE_SECONDS: Final = 3.0
#: The note of a worker that cannot ask whether it may take jobs.
DATABASE_AWAY: Final = "the database is away"


class Pool(Protocol):
    """What the warden needs of Celery's worker."""

    def child_pid(self) -> int | None: ...

    def respawn(self) -> None:
        """Has Celery notice the child's death now and start another."""
        ...

    def consume(self, queues: Sequence[str]) -> None:
        """Has hints come from these queues; from none: shut."""
        ...


@dataclass(slots=True)
class Warden:
    gpu: int
    boot: str
    held: Held
    spool: Spool
    standing: Standing
    pool: Pool
    sample: Callable[[], GpuSample]
    #: Why we killed the job that our child held: decides what its row will say.
    _killed: dict[tuple[int, int], Reason] = field(default_factory=dict)
    _seen: HeldJob | None = None
    _started_at: float = 0.0
    _claim_checked_at: float = 0.0
    _eligible_checked_at: float = float("-inf")
    _child_pid: int | None = None
    #: What this GPU reads while it may take jobs, and what it reads now (None: not said yet).
    _readable: tuple[str, ...] = PLAIN_QUEUES
    _reading: tuple[str, ...] | None = None

    def tick(self, now: float) -> None:
        """`now`: monotonic seconds."""
        try:
            with fork_guard.database():
                self._watch_child(now)
                self._watch_claim(now)
                self._watch_eligibility(now)
        except DatabaseError as error:
            close_old_connections()
            self._set_note(DATABASE_AWAY, consume=False)
            log.debug("warden_waits", gpu=self.gpu, error=error)

    def has_database(self) -> bool:
        """Whether it answered the last time."""
        return self.standing.note != DATABASE_AWAY

    def check_eligibility(self) -> bool:
        """Before the first hint is taken."""
        with fork_guard.database():
            self._watch_eligibility(time.monotonic())
        return bool(self._reading)

    def stop(self) -> None:
        """The running job ends within its grace, or goes back to the queue without a charge."""
        deadline = time.monotonic() + GRACE_SECONDS
        while (job := self.held.read()) is not None and time.monotonic() < deadline and self._is_alive(job.child_pid):
            time.sleep(0.05)
        if job is None:
            return
        _kill_group(job.child_pid)
        if lifecycle.requeue(job.job_id, job.attempt, Reason.SHUTDOWN, detail=f"GPU {self.gpu}: worker stopped"):
            log.info("job_returned", job=job.job_id, attempt=job.attempt, gpu=self.gpu)
        self.held.release()

    # --- the child

    def _watch_child(self, now: float) -> None:
        job = self.held.read()
        if job is not None and (self._seen is None or self._seen.key != job.key or self._seen.runs != job.runs):
            self._started_at, self._claim_checked_at = now, now
        self._seen = job
        pid = self.standing.child_pid = self.pool.child_pid()
        if job is not None and not self._is_alive(job.child_pid):
            self._bury(job)
        if pid is not None and not self._is_alive(pid):
            self.pool.respawn()

    def _bury(self, job: HeldJob) -> None:
        """The child died holding this job: its whole group goes, and the row says why."""
        _kill_group(job.child_pid)
        reason = self._killed.get(job.key, Reason.CHILD_DIED)
        detail = f"GPU {self.gpu}: {reason.value.replace('_', ' ')}"
        if reason is Reason.TIMED_OUT:
            error = f"ran longer than its limit of {job.time_limit_seconds} s"
            ending = Ending(job_id=job.job_id, attempt=job.attempt, state=JobState.FAILED, reason=reason, error=error)
            self.spool.commit_or_keep(ending)
        elif reason is not Reason.CLAIM_LOST:
            state = lifecycle.requeue(job.job_id, job.attempt, reason, detail=detail)
            if state is not None and reason is Reason.CHILD_DIED:
                log.warning("child_died", job=job.job_id, attempt=job.attempt, gpu=self.gpu, now=state)
                message = f"GPU {self.gpu}: job process died; job {job.job_id} is {state.value}"
                ClusterEvent.objects.create(kind="child_died", gpu=self.gpu, message=message)
        self._killed.pop(job.key, None)
        if (current := self.held.read()) is not None and current.key == job.key:
            self.held.release()

    def _is_alive(self, pid: int) -> bool:
        with suppress(ChildProcessError):
            # WNOWAIT: Celery's pool must still find the child's exit status.
            return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        return False

    # --- the claim

    def _watch_claim(self, now: float) -> None:
        job = self._seen
        if job is None or not job.runs or job.key in self._killed:
            return
        if now - self._started_at > job.time_limit_seconds:
            self._kill(job, Reason.TIMED_OUT)
        elif now - self._claim_checked_at >= CLAIM_SECONDS:
            self._claim_checked_at = now
            row = Job.objects.filter(id=job.job_id).values_list("state", "attempt", "cancel_requested").first()
            if row is None or row[:2] != (JobState.RUNNING, job.attempt):
                self._kill_if_still_held(job, Reason.CLAIM_LOST)
            elif row[2]:
                self._kill(job, Reason.CANCEL)

    def _kill_if_still_held(self, job: HeldJob, reason: Reason) -> None:
        """The child may just have committed: then it has let go, or is about to within milliseconds."""
        deadline = time.monotonic() + 1.0
        while (current := self.held.read()) is not None and current.key == job.key:
            if time.monotonic() > deadline:
                self._kill(job, reason)
                return
            time.sleep(0.02)

    def _kill(self, job: HeldJob, reason: Reason) -> None:
        log.info("job_killed", job=job.job_id, attempt=job.attempt, gpu=self.gpu, reason=reason)
        self._killed = {job.key: reason}
        _kill_group(job.child_pid)

    # --- the valve

    def _watch_eligibility(self, now: float) -> None:
        if now - self._eligible_checked_at < ELIGIBILITY_SECONDS:
            return
        self._eligible_checked_at = now
        if self.spool.flush():
            log.info("kept_results_committed", gpu=self.gpu)
        self.standing.spooled = tuple(ending.key for ending in self.spool.waiting())
        row = Gpu.objects.filter(index=self.gpu).values_list("drained", "quarantined", "memory_total_mib").first()
        drained, quarantined, memory_mib = row or (False, "", None)
        self._readable = Gpu.objects.tiers().read_by(memory_mib)
        note = ineligible_because(self.sample(), drained=drained, quarantined=quarantined)
        if note is None and self.held.read() is None and Allocation.objects.filter(gpu=self.gpu).exists():
            note = "a job of an older worker still holds it" if self._claimed_elsewhere() else None
        self._set_note(note or "", consume=note is None)

    def _claimed_elsewhere(self) -> bool:
        """Our own child may have claimed between the two looks."""
        return Job.objects.running().filter(gpu=self.gpu).exclude(boot=self.boot).exists()

    def _set_note(self, note: str, *, consume: bool) -> None:
        if note != self.standing.note:
            log.info("gpu_eligible" if consume else "gpu_not_eligible", gpu=self.gpu, note=note)
        self.standing.note = note
        reading = self._readable if consume else ()
        if reading != self._reading:
            self._reading = reading
            self.pool.consume(reading)


def _kill_group(pid: int) -> None:
    """The child leads a process group of its own: whatever the job started goes with it."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
