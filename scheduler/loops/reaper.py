"""Finds dead workers and dead job processes by the workers' heartbeats, and requeues their jobs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from redis import Redis

from scheduler.database_errors import DatabaseFailure, is_unavailable
from scheduler.jobs import lifecycle
from scheduler.logs import event_logger
from scheduler.loops.heartbeats import SILENCE_SECONDS, Finding, Judge, RunningJob, prove_writable, read_beats
from scheduler.models import ClusterEvent, Job
from scheduler.rules.states import JobState, Reason

log = event_logger(__name__)

REASONS: Final[dict[Finding, tuple[Reason, str]]] = {
    Finding.SILENT: (Reason.WORKER_DIED, f"no heartbeat for {SILENCE_SECONDS:.0f} s"),
    Finding.OTHER_BOOT: (Reason.WORKER_RESTARTED, "the worker restarted"),
    Finding.NOT_LISTED: (Reason.CHILD_DIED, "the worker no longer lists it"),
}


@dataclass(slots=True)
class Reaper:
    redis: Redis
    judge: Judge = field(default_factory=Judge)
    #: Attempts that the database refused to requeue, so that each is logged once.
    _refused: set[tuple[int, int]] = field(default_factory=set)

    def tick(self, now: float) -> int:
        """`now`: monotonic seconds. Returns the number of jobs that it requeued or ended."""
        running = [
            RunningJob(job_id=job_id, attempt=attempt, gpu=gpu, boot=boot)
            for job_id, attempt, gpu, boot in Job.objects.running().values_list("id", "attempt", "gpu", "boot")
            if gpu is not None
        ]
        # Raises while no worker can beat: a full broker answers reads and refuses every heartbeat.
        prove_writable(self.redis)
        # Read after the jobs: so no beat is held against a job that started after it was read.
        findings = self.judge.judge(read_beats(self.redis), running, now)
        return sum(self._act(job, finding) for job, finding in findings)

    def _act(self, job: RunningJob, finding: Finding) -> bool:
        reason, detail = REASONS[finding]
        try:
            state = lifecycle.requeue(job.job_id, job.attempt, reason, detail=f"GPU {job.gpu}: {detail}")
        except DatabaseFailure as error:
            if is_unavailable(error):
                raise
            # The other jobs are requeued all the same.
            self._say_once(job, error)
            return False
        if state is None:
            return False
        event = "job_requeued" if state is JobState.QUEUED else f"job_{state}"
        log.warning(event, job=job.job_id, attempt=job.attempt, gpu=job.gpu, reason=reason)
        if finding is Finding.SILENT:
            ClusterEvent.objects.create(
                kind="worker_died", gpu=job.gpu, message=f"GPU {job.gpu}: worker silent for {SILENCE_SECONDS:.0f} s"
            )
        return True

    def _say_once(self, job: RunningJob, error: DatabaseFailure) -> None:
        if (key := (job.job_id, job.attempt)) not in self._refused:
            self._refused.add(key)
            log.error("job_not_requeued", job=job.job_id, attempt=job.attempt, gpu=job.gpu, exc_info=error)
