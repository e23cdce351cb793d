"""The life of the job process: its death, the processes that it leaves, and what kills it (a cancel, the time limit, a
claim that was lost, a stop of the worker)."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from django.db import close_old_connections

from gpu_tasks.processes import fork_guard, helpers, job_processes, proc
from gpu_tasks.worker.celery_pool import CeleryPool
from gpu_tasks.worker.commit import Commit, Ending
from gpu_tasks.worker.held import Held, HeldJob
from gpu_tasks.worker.quarantine import CUDA_PREFIX, quarantine_broken, quarantine_cuda
from gpu_tasks.worker.valve import DATABASE_REFUSES, DATABASE_UNAVAILABLE, REPLACING, GpuUse, Valve
from scheduler.database_errors import DatabaseFailure, is_unavailable
from scheduler.logs import Outage, event_logger
from scheduler.models import ClusterEvent, Job
from scheduler.rules.gpu import GpuFault
from scheduler.rules.states import JobState, Reason

log = event_logger(__name__)

WATCH_PERIOD_SECONDS: Final = 0.25
#: How often the database is asked whether the claim is still valid and no cancel was requested.
CLAIM_SECONDS: Final = 1.0
#: After this time a GPU that is quarantined because of CUDA is checked again, by a new job process.
PROVE_AGAIN_SECONDS: Final = 60.0
#: At a stop of the worker a running job may end by itself for this time; then it is killed and requeued.
CHILD_GRACE_SECONDS: Final = 3.0


@dataclass(slots=True, kw_only=True)
class ChildWatch:
    """`tick` runs in the thread `watch`, `kill` also in `cut_off`, and `stop` in the main thread after both ended."""

    gpu: int
    held: Held
    commit: Commit
    valve: Valve
    pool: CeleryPool
    record: job_processes.Record
    #: Processes of earlier jobs that could not be killed.
    left_over: list[int] = field(default_factory=list)
    #: Why this worker killed the job that it holds: decides how the job ends.
    _killed: dict[tuple[int, int], Reason] = field(default_factory=dict)
    #: The fault of the GPU for which a job was killed, and the last one that was dealt with.
    _killed_by: str = ""
    _fault: GpuFault | None = None
    #: The job process that has found CUDA not to work, and since when it is quarantined for that.
    _proving_pid: int | None = None
    _proving_since: float = 0.0
    _seen: HeldJob | None = None
    _started_at: float = 0.0
    _claim_checked_at: float = 0.0
    _is_replacing: bool = False
    _outage: Outage = field(init=False)
    #: Monotonic seconds of the last error of the database.
    _broke_at: float = float("-inf")

    def __post_init__(self) -> None:
        self._outage = Outage(log, "watch", gpu=self.gpu)

    def tick(self, now: float) -> bool:
        """Then the valve's check, with what was found. `now`: monotonic seconds. Returns whether the database
        answers."""
        try:
            with fork_guard.database():
                # First: a job process that died of its GPU's fault died of nothing else.
                self._watch_gpu()
                self._watch_process(now)
                self._watch_claim(now)
                self.valve.check(now, self._use())
        except DatabaseFailure as error:
            close_old_connections()
            self._broke_at = time.monotonic()
            self.valve.shut(DATABASE_UNAVAILABLE if is_unavailable(error) else DATABASE_REFUSES)
            self._outage.broke(error)
        else:
            # Not every tick asks the database.
            if self.valve.answered_at > self._broke_at:
                self._outage.recovered()
        return not self._outage.is_on

    def check_eligibility(self) -> None:
        """Before the first hint is taken."""
        with fork_guard.database():
            self.valve.check(time.monotonic(), self._use())

    def is_killed(self, job: HeldJob) -> bool:
        """Whether its process was killed, and its end is not committed yet."""
        return job.key in self._killed

    def kill(self, job: HeldJob, reason: Reason) -> None:
        log.info("job_killed", job=job.job_id, attempt=job.attempt, gpu=self.gpu, reason=reason)
        self._killed = {job.key: reason}
        job_processes.kill(job.child_pid)

    def stop(self) -> None:
        """The running job ends within its grace, or is requeued without a charge."""
        deadline = time.monotonic() + CHILD_GRACE_SECONDS
        while (job := self.held.read()) is not None and time.monotonic() < deadline and _is_alive(job.child_pid):
            time.sleep(0.05)
        if job is None:
            return
        job_processes.kill(job.child_pid)
        # Its orphans become this process's children only when it has ended.
        _wait_for_end(job.child_pid)
        job_processes.end_children(self._spared_pids)
        # This thread's connection is as old as the worker: the database may have been restarted since.
        close_old_connections()
        self.commit.requeue(job.job_id, job.attempt, Reason.SHUTDOWN, f"GPU {self.gpu}: worker stopped")
        self.held.release()

    # --- the GPU

    def _watch_gpu(self) -> None:
        """Its hardware has failed: the job that runs there is requeued, and the GPU is taken out of service."""
        fault = self.valve.reading_of_gpu().sample.last_fault
        if fault is None or fault == self._fault:
            return
        job = self.held.read()
        if job is not None and not self.is_killed(job):
            self._killed_by = fault.words
            self.kill(job, Reason.GPU_FAULT)
        quarantine_broken(self.gpu, fault.words)
        # Last: while the database is unavailable it is tried again.
        self._fault = fault

    # --- the process

    def _watch_process(self, now: float) -> None:
        job = self.held.read()
        if job is not None and (self._seen is None or (self._seen.key, self._seen.runs) != (job.key, job.runs)):
            self._started_at, self._claim_checked_at = now, now
        self._seen = job
        pid = self.pool.child_pid()
        if job is not None and not _is_alive(job.child_pid):
            self._end_job_of_dead_process(job)
            # Its time limit must not be found exceeded once more: another process may have the pid by now.
            self._seen = None
        if pid is not None and self.held.is_loading_cuda(pid) and not _is_alive(pid) and not _was_killed(pid):
            self.held.load_cuda_again_at(now + PROVE_AGAIN_SECONDS)
            quarantine_cuda(self.gpu, "its job process died while it loaded CUDA")
        self._watch_descendants(job)
        self._prove_again(now, pid)
        self._is_replacing = pid is not None and self.held.is_spent(pid)
        if pid is not None and not _is_alive(pid):
            self.pool.respawn()
        elif pid is not None and self._is_replacing:
            # The valve first: else a hint may be handed to the process that is to end.
            self.valve.shut(REPLACING)
            self.pool.replace(pid)

    def _prove_again(self, now: float, pid: int | None) -> None:
        """A GPU that is quarantined because of CUDA gets a new job process now and then, which checks again."""
        if pid != self._proving_pid or not self.valve.note.startswith(f"quarantined: {CUDA_PREFIX}"):
            self._proving_pid, self._proving_since = pid, now
        elif pid is not None and now - self._proving_since > PROVE_AGAIN_SECONDS:
            self._proving_since = now
            self.pool.replace(pid)

    def _end_job_of_dead_process(self, job: HeldJob) -> None:
        """It died holding this job: all that the job started is ended first, then the row says why it died."""
        job_processes.kill(job.child_pid)
        self.left_over = job_processes.end_children(self._spared_pids)
        reason = self._killed.get(job.key, Reason.CHILD_DIED)
        if reason is Reason.TIMED_OUT:
            error = f"ran longer than its limit of {job.time_limit_seconds} s"
            ending = Ending(job_id=job.job_id, attempt=job.attempt, state=JobState.FAILED, reason=reason, error=error)
            self.commit.commit_or_keep(ending)
        else:
            detail = f"GPU {self.gpu}: {reason.value.replace('_', ' ')}"
            if reason is Reason.GPU_FAULT:
                detail = self._killed_by
            if self.commit.requeue(job.job_id, job.attempt, reason, detail) and reason is Reason.CHILD_DIED:
                message = f"GPU {self.gpu}: the process of job {job.job_id} died"
                ClusterEvent.objects.create(kind="child_died", gpu=self.gpu, message=message)
        self._killed.pop(job.key, None)
        if (current := self.held.read()) is not None and current.key == job.key:
            self.held.release()

    def _watch_descendants(self, job: HeldJob | None) -> None:
        """While a job runs its processes are noted; after it there must be none."""
        if job is not None:
            self.record.note([job.child_pid, *job_processes.descendants_of(job.child_pid), *self.left_over])
            return
        living = job_processes.end_children(self._spared_pids)
        older = [pid for pid in self.left_over if pid not in living and job_processes.born_at(pid) is not None]
        self.left_over = [*living, *older]
        self.record.note(self.left_over)

    def _spared_pids(self) -> Collection[int]:
        """Children that belong to no job. One that Celery has just forked, and does not list yet, is still in this
        process's group; a job's process never is."""
        newborn = [pid for pid in proc.children_of(os.getpid()) if job_processes.is_of_our_group(pid)]
        return {*self.pool.child_pids(), *helpers.pids(), *newborn}

    def _use(self) -> GpuUse:
        return GpuUse(left_over=self.left_over, is_replacing=self._is_replacing)

    # --- the claim

    def _watch_claim(self, now: float) -> None:
        job = self._seen
        if job is None or not job.runs or self.is_killed(job):
            return
        if now - self._started_at > job.time_limit_seconds:
            self.kill(job, Reason.TIMED_OUT)
        elif now - self._claim_checked_at >= CLAIM_SECONDS:
            self._claim_checked_at = now
            row = Job.objects.filter(id=job.job_id).values_list("state", "attempt", "cancel_requested").first()
            self.valve.database_answered()
            if row is None or row[:2] != (JobState.RUNNING, job.attempt):
                self._kill_if_still_held(job, Reason.CLAIM_LOST)
            elif row[2]:
                self.kill(job, Reason.CANCEL)

    def _kill_if_still_held(self, job: HeldJob, reason: Reason) -> None:
        """The job process may just have committed: then it releases the job within milliseconds."""
        deadline = time.monotonic() + 1.0
        while (current := self.held.read()) is not None and current.key == job.key:
            if time.monotonic() > deadline:
                self.kill(job, reason)
                return
            time.sleep(0.02)


def _wait_for_end(pid: int) -> None:
    deadline = time.monotonic() + job_processes.END_SECONDS
    while _is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.005)


def _was_killed(pid: int) -> bool:
    """Whether a person or the system killed this ended child; False too if Celery knows its end already."""
    with suppress(ChildProcessError):
        end = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return end is not None and end.si_code == os.CLD_KILLED and end.si_status in {signal.SIGKILL, signal.SIGTERM}
    return False


def _is_alive(pid: int) -> bool:
    """Of a child of this process."""
    with suppress(ChildProcessError):
        # WNOWAIT: Celery's pool must still find the child's exit status.
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    return False
