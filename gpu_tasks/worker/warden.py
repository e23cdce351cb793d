"""Watches the worker's child: its death, a cancel, the time limit, a claim that was lost; opens and shuts
the valve through which hints come. From a thread of its own, with the database.

`watch_cut_off` runs in another thread, which waits for nobody.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

from django.db import DatabaseError, close_old_connections
from django.db.models.functions import Now

from gpu_tasks.processes import fork_guard, helpers, job_processes
from gpu_tasks.worker.heartbeat import Standing
from gpu_tasks.worker.held import Held, HeldJob
from gpu_tasks.worker.spool import Ending, Spool
from scheduler.jobs.lifecycle import Refusal
from scheduler.logs import event_logger
from scheduler.loops.heartbeats import SILENCE_SECONDS
from scheduler.models import Allocation, ClusterEvent, Gpu, Job
from scheduler.rules.gpu import GpuSample, ineligible_because, occupied_because
from scheduler.rules.queues import PLAIN_QUEUES
from scheduler.rules.states import JobState, Reason

log = event_logger(__name__)

PERIOD_SECONDS: Final = 0.25
#: How often the database is asked whether the claim stands and nobody cancelled.
CLAIM_SECONDS: Final = 1.0
#: How often the database is asked whether this GPU may take jobs.
ELIGIBILITY_SECONDS: Final = 2.0
#: At a stop, a running job has so long to end by itself before it goes back to the queue.
GRACE_SECONDS: Final = 3.0
#: A database that did not answer for so long is away, though it refused nothing.
ANSWER_SECONDS: Final = 5.0
#: After its last job a GPU has so long until memory in use counts as a left-over: a sample, and the driver's own pace.
IDLE_SECONDS: Final = 2.0
#: Twice as long between two looks: the whole process was stopped.
LOOK_SECONDS: Final = 1.0
#: The note of a worker that cannot ask whether it may take jobs.
DATABASE_AWAY: Final = "the database is away"
REPLACING: Final = "the process of its jobs is being replaced"
#: What is said of a GPU that could not follow a hint; else the reason itself.
GIVEN_BACK: Final[dict[str, str]] = {
    Refusal.GPU_BUSY: "another job still holds it",
    Refusal.ELSEWHERE: "a job that failed here is left to another GPU for a moment",
}


class Pool(Protocol):
    """What the warden needs of Celery's worker."""

    def child_pid(self) -> int | None: ...

    def child_pids(self) -> Collection[int]:
        """Every child that Celery knows."""
        ...

    def respawn(self) -> None:
        """Has Celery notice the child's death now and start another."""
        ...

    def replace(self, pid: int) -> None:
        """Ends this child as soon as nothing was handed to it."""
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
    record: job_processes.Record
    sample: Callable[[], GpuSample]
    #: Monotonic seconds at which Redis answered the pulse last.
    heard_at: Callable[[], float]
    #: Processes of earlier jobs that could not be killed.
    left_over: list[int] = field(default_factory=list)
    #: Why we killed the job that our child held: decides what its row will say.
    _killed: dict[tuple[int, int], Reason] = field(default_factory=dict)
    _seen: HeldJob | None = None
    _started_at: float = 0.0
    _claim_checked_at: float = 0.0
    _eligible_checked_at: float = float("-inf")
    _idle_since: float = field(default_factory=time.monotonic)
    #: When the database answered last, and when `watch_cut_off` looked last; both monotonic seconds.
    _answered_at: float = field(default_factory=time.monotonic)
    _looked_at: float = field(default_factory=time.monotonic)
    #: Silence before this does not count: the process was stopped, and asks first.
    _silent_from: float = float("-inf")
    #: (job, attempt) that another GPU may take first.
    _left_to_others: tuple[int, int] | None = None
    #: What this GPU reads while it may take jobs, and what it reads now (None: not said yet).
    _readable: tuple[str, ...] = PLAIN_QUEUES
    _reading: tuple[str, ...] | None = None

    def tick(self, now: float) -> bool:
        """`now`: monotonic seconds. Returns whether the database answered."""
        try:
            with fork_guard.database():
                self._watch_child(now)
                self._watch_claim(now)
                self._watch_eligibility(now)
        except DatabaseError as error:
            close_old_connections()
            self._set_note(DATABASE_AWAY, consume=False)
            log.debug("warden_waits", gpu=self.gpu, error=error)
        return self.standing.note != DATABASE_AWAY

    def watch_cut_off(self, now: float) -> bool:
        """Without Redis and without the database for a whole term, nobody can tell whether the claim still stands:
        the job ends here before it may have been started elsewhere for long, and goes back without a charge."""
        if now - self._looked_at > 2 * LOOK_SECONDS:
            self._silent_from = now
        self._looked_at = now
        answered_at = max(self._answered_at, self._silent_from)
        if now - answered_at > ANSWER_SECONDS:
            self._set_note(DATABASE_AWAY, consume=False)
        job = self.held.read()
        if job is None or not job.runs or job.key in self._killed:
            return True
        if now - max(answered_at, self.heard_at()) > SILENCE_SECONDS:
            log.warning("cut_off", job=job.job_id, attempt=job.attempt, gpu=self.gpu, seconds=SILENCE_SECONDS)
            self._kill(job, Reason.CLAIM_LOST)
        return True

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
        job_processes.kill(job.child_pid)
        # Only then its orphans are ours.
        self._wait_for_end(job.child_pid)
        job_processes.end_children(self._own_pids)
        # This thread's connection is as old as the worker: the database may have been restarted since.
        close_old_connections()
        try:
            if self._give_back(job, Reason.SHUTDOWN, f"GPU {self.gpu}: worker stopped"):
                log.info("job_returned", job=job.job_id, attempt=job.attempt, gpu=self.gpu)
        except DatabaseError as error:
            # Its next boot gives the job back, or the reaper.
            log.warning("job_not_returned", job=job.job_id, gpu=self.gpu, error=error)
        self.held.release()

    # --- the child

    def _watch_child(self, now: float) -> None:
        job = self.held.read()
        if job is not None:
            self._idle_since = now
            if self._seen is None or self._seen.key != job.key or self._seen.runs != job.runs:
                self._started_at, self._claim_checked_at = now, now
        self._seen = job
        pid = self.standing.child_pid = self.pool.child_pid()
        if job is not None and not self._is_alive(job.child_pid):
            self._bury(job)
        self._watch_processes(job)
        if pid is not None and not self._is_alive(pid):
            self.pool.respawn()
        elif pid is not None and self.held.is_spent(pid):
            self._set_note(REPLACING, consume=False)
            self.pool.replace(pid)
        elif self.standing.note == REPLACING:
            self._eligible_checked_at = float("-inf")

    def _is_replacing(self) -> bool:
        pid = self.standing.child_pid
        return self.standing.note == REPLACING and pid is not None and self.held.is_spent(pid)

    def _bury(self, job: HeldJob) -> None:
        """The child died holding this job: all that the job started goes, and the row says why."""
        job_processes.kill(job.child_pid)
        self.left_over = job_processes.end_children(self._own_pids)
        reason = self._killed.get(job.key, Reason.CHILD_DIED)
        if reason is Reason.TIMED_OUT:
            error = f"ran longer than its limit of {job.time_limit_seconds} s"
            ending = Ending(job_id=job.job_id, attempt=job.attempt, state=JobState.FAILED, reason=reason, error=error)
            self.spool.commit_or_keep(ending)
        elif self._give_back(job, reason, f"GPU {self.gpu}: {reason.value.replace('_', ' ')}"):
            log.warning("job_given_back", job=job.job_id, attempt=job.attempt, gpu=self.gpu, reason=reason)
            if reason is Reason.CHILD_DIED:
                message = f"GPU {self.gpu}: the process of job {job.job_id} died"
                ClusterEvent.objects.create(kind="child_died", gpu=self.gpu, message=message)
        self._killed.pop(job.key, None)
        if (current := self.held.read()) is not None and current.key == job.key:
            self.held.release()

    def _give_back(self, job: HeldJob, reason: Reason, detail: str) -> bool:
        """Kept on disk while the database is away, as a result is."""
        return self.spool.commit_or_keep(
            Ending(job_id=job.job_id, attempt=job.attempt, state=JobState.QUEUED, reason=reason, error=detail)
        )

    def _watch_processes(self, job: HeldJob | None) -> None:
        """While a job runs its processes are noted; after it there must be none."""
        if job is not None:
            self.record.note([job.child_pid, *job_processes.descendants_of(job.child_pid), *self.left_over])
            return
        living = job_processes.end_children(self._own_pids)
        older = [pid for pid in self.left_over if pid not in living and job_processes.born_at(pid) is not None]
        self.left_over = [*living, *older]
        self.record.note(self.left_over)

    def _own_pids(self) -> Collection[int]:
        """A child that Celery has just forked, and does not know yet, is still in our own group; a job's never are."""
        newborn = [pid for pid in job_processes.children_of(os.getpid()) if job_processes.is_of_our_group(pid)]
        return {*self.pool.child_pids(), *helpers.pids(), *newborn}

    def _wait_for_end(self, pid: int) -> None:
        deadline = time.monotonic() + job_processes.END_SECONDS
        while self._is_alive(pid) and time.monotonic() < deadline:
            time.sleep(0.005)

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
            self._answered_at = time.monotonic()
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
        job_processes.kill(job.child_pid)

    # --- the valve

    def given_back(self, job_id: int, attempt: int, because: str) -> None:
        """Our child could not follow a hint, which goes to the front of its queue now: it is for another GPU.

        In the hub's thread, without a look at the database.
        """
        self._left_to_others = (job_id, attempt) if because == Refusal.ELSEWHERE else None
        self._eligible_checked_at = time.monotonic()
        self._set_note(GIVEN_BACK.get(because, because), consume=False)

    def _watch_left_to_others(self) -> None:
        """Until somebody took it or its time has passed: then this GPU may take jobs again at once."""
        if self._left_to_others is None:
            return
        job_id, attempt = self._left_to_others
        if not Job.objects.due().filter(id=job_id, attempt=attempt, elsewhere_until__gt=Now()).exists():
            self._left_to_others, self._eligible_checked_at = None, float("-inf")

    def _watch_eligibility(self, now: float) -> None:
        self._watch_left_to_others()
        if self._left_to_others is not None:
            return
        if now - self._eligible_checked_at < ELIGIBILITY_SECONDS or self._is_replacing():
            return
        self._eligible_checked_at = now
        if self.spool.flush():
            log.info("kept_results_committed", gpu=self.gpu)
        row = Gpu.objects.filter(index=self.gpu).values_list("drained", "quarantined", "memory_total_mib").first()
        self._answered_at = time.monotonic()
        drained, quarantined, memory_mib = row or (False, "", None)
        self._readable = Gpu.objects.tiers().read_by(memory_mib)
        sample = self.sample()
        note = ineligible_because(sample, drained=drained, quarantined=quarantined) or self._occupied(sample, now)
        if note is None and self.held.read() is None and Allocation.objects.filter(gpu=self.gpu).exists():
            note = "a job of an older worker still holds it" if self._claimed_elsewhere() else None
        self._set_note(note or "", consume=note is None)

    def _occupied(self, sample: GpuSample, now: float) -> str | None:
        """Whoever else uses this GPU, a job that has ended included."""
        if self.left_over:
            return f"process {', '.join(map(str, self.left_over))} of an earlier job does not end"
        me = os.getpid()
        own_pids = {me, *job_processes.descendants_of(me)} if sample.processes else ()
        idle = self._seen is None and now - self._idle_since > IDLE_SECONDS
        return occupied_because(sample, own_pids, idle=idle)

    def _claimed_elsewhere(self) -> bool:
        """Our own child may have claimed between the two looks."""
        return Job.objects.running().filter(gpu=self.gpu).exclude(boot=self.boot).exists()

    def _set_note(self, note: str, *, consume: bool) -> None:
        if note != self.standing.note:
            log.info("gpu_eligible" if consume else "gpu_not_eligible", gpu=self.gpu, note=note)
        self.standing.note = note
        reading = self._readable if consume else ()
        if reading != self._reading:
            self._reading = self.standing.reading = reading
            self.pool.consume(reading)
