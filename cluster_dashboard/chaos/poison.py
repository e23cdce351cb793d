"""Jobs that kill their process, use up memory, or cannot be stopped by a signal."""

from __future__ import annotations

from functools import partial
from typing import Final

from cluster_dashboard.chaos.deaths import RECOVERY_PATIENCE_SECONDS
from cluster_dashboard.chaos.scenario import Scenario
from cluster_dashboard.chaos.scorecard import Promise
from cluster_dashboard.chaos.stage import Stage
from gpu_tasks.job_types.fault_injection import FaultMode
from scheduler.rules.job_limits import FAILURE_LIMIT
from scheduler.rules.states import EventKind, JobState, Reason

#: After this time, a job that ignores every signal is killed.
STUBBORN_LIMIT_SECONDS: Final = 2


def _poison_that_kills(stage: Stage, mode: FaultMode) -> None:
    """Exactly max_failures starts, then the job is failed."""
    _good_jobs(stage)
    (job,) = _poison(stage, mode)
    stage.expect([job], JobState.FAILED, reason=Reason.EXHAUSTED, attempt=FAILURE_LIMIT)
    requeued = stage.event(job, EventKind.REQUEUED)
    stage.detected(requeued.at)
    end = stage.event(job, EventKind.FAILED, attempt=FAILURE_LIMIT, seconds=RECOVERY_PATIENCE_SECONDS)
    stage.recovered(end.at)
    starts = [event for event in stage.events([job]) if event.kind == EventKind.STARTED]
    stage.facts["starts"] = len(starts)
    if len(starts) != FAILURE_LIMIT:
        stage.problems.append(f"promised: exactly {FAILURE_LIMIT} starts of a poison job; it had {len(starts)}")


def _poison_that_fails(stage: Stage, mode: FaultMode) -> None:
    """A failure of the job itself, caught in the job process: one start."""
    _good_jobs(stage)
    (job,) = _poison(stage, mode)
    stage.expect([job], JobState.FAILED, reason=Reason.OUT_OF_MEMORY, attempt=1)
    end = stage.event(job, EventKind.FAILED, seconds=RECOVERY_PATIENCE_SECONDS)
    stage.detected(end.at)
    stage.see_jobs_flow()


def _good_jobs(stage: Stage) -> None:
    stage.expect(stage.sleeps(0.5, count=3 * len(stage.gpus)), attempt=1)


def _poison(stage: Stage, mode: FaultMode) -> list[int]:
    stage.injected()
    return stage.submit("fault_injection", mode=mode, after_seconds=0.2, max_failures=FAILURE_LIMIT)


def ignore_signals(stage: Stage) -> None:
    """The job is killed with its group at its time limit; its GPU starts the next job."""
    jobs = stage.submit(
        "fault_injection",
        count=len(stage.gpus),
        mode=FaultMode.HANG,
        after_seconds=0,
        time_limit_seconds=STUBBORN_LIMIT_SECONDS,
    )
    stage.expect(jobs, JobState.FAILED, reason=Reason.TIMED_OUT, attempt=1)
    starts = stage.starts(jobs, len(jobs))
    # The time limit is the moment from which the kill is due.
    stage.moments.injected_at = max(start.at for start in starts) + STUBBORN_LIMIT_SECONDS
    ends = [stage.event(job, EventKind.FAILED, seconds=RECOVERY_PATIENCE_SECONDS) for job in jobs]
    stage.detected(max(end.at for end in ends))
    stage.see_jobs_flow()


SCENARIOS: Final = (
    Scenario(
        name="poison_kill",
        summary="a job that kills its own process with SIGKILL, each time",
        play=partial(_poison_that_kills, mode=FaultMode.KILL),
    ),
    Scenario(
        name="poison_segfault",
        summary="a job that ends in a segmentation fault, each time",
        play=partial(_poison_that_kills, mode=FaultMode.SEGFAULT),
    ),
    Scenario(
        name="poison_memory",
        summary="a job that uses all the memory it may have",
        play=partial(_poison_that_fails, mode=FaultMode.OUT_OF_MEMORY),
    ),
    Scenario(
        name="poison_gpu_memory",
        summary="a job that uses all the memory of its GPU",
        play=partial(_poison_that_fails, mode=FaultMode.GPU_MEMORY),
    ),
    Scenario(
        name="ignore_signals",
        summary="jobs that ignore SIGTERM, SIGINT and the soft limit, on every GPU",
        play=ignore_signals,
        promise=Promise(detected_seconds=2, recovered_seconds=5),
    ),
)
