"""Jobs that kill what runs them, or do not let themselves be stopped."""

from __future__ import annotations

from functools import partial
from typing import Final

from cluster_dashboard.chaos.deaths import PATIENCE_SECONDS
from cluster_dashboard.chaos.scenario import Scenario
from cluster_dashboard.chaos.scorecard import Promise
from cluster_dashboard.chaos.stage import Stage
from gpu_tasks.job_types.fault_injection import FaultMode
from scheduler.rules.limits import FAILURE_LIMIT
from scheduler.rules.states import EventKind, JobState, Reason

#: After so long a job that ignores every signal is killed.
STUBBORN_LIMIT_SECONDS: Final = 2


def _poison_that_kills(stage: Stage, mode: FaultMode) -> None:
    """Exactly max_failures starts, then failed."""
    _good_jobs(stage)
    (job,) = _poison(stage, mode)
    stage.expect([job], JobState.FAILED, reason=Reason.EXHAUSTED, attempt=FAILURE_LIMIT)
    taken_back = stage.event(job, EventKind.REQUEUED)
    stage.detected(taken_back.at)
    end = stage.event(job, EventKind.FAILED, attempt=FAILURE_LIMIT, seconds=PATIENCE_SECONDS)
    stage.recovered(end.at)
    starts = [event for event in stage.events([job]) if event.kind == EventKind.STARTED]
    stage.facts["starts"] = len(starts)
    if len(starts) != FAILURE_LIMIT:
        stage.problems.append(f"promised: exactly {FAILURE_LIMIT} starts of a poison job; it had {len(starts)}")


def _poison_that_fails(stage: Stage, mode: FaultMode) -> None:
    """Its own failure, caught in its process: one start."""
    _good_jobs(stage)
    (job,) = _poison(stage, mode)
    stage.expect([job], JobState.FAILED, reason=Reason.OUT_OF_MEMORY, attempt=1)
    end = stage.event(job, EventKind.FAILED, seconds=PATIENCE_SECONDS)
    stage.detected(end.at)
    stage.see_jobs_flow()


def _good_jobs(stage: Stage) -> None:
    stage.expect(stage.sleeps(0.5, count=3 * len(stage.gpus)), attempt=1)


def _poison(stage: Stage, mode: FaultMode) -> list[int]:
    stage.injected()
    return stage.submit("fault_injection", mode=mode, after_seconds=0.2, max_failures=FAILURE_LIMIT)


def ignore_signals(stage: Stage) -> None:
    """Killed with its group at its limit; its GPU takes the next job."""
    jobs = stage.submit(
        "fault_injection",
        count=len(stage.gpus),
        mode=FaultMode.HANG,
        after_seconds=0,
        time_limit_seconds=STUBBORN_LIMIT_SECONDS,
    )
    stage.expect(jobs, JobState.FAILED, reason=Reason.TIMED_OUT, attempt=1)
    starts = stage.starts(jobs, len(jobs))
    # From its limit on it is to be stopped.
    stage.moments.injected_at = max(start.at for start in starts) + STUBBORN_LIMIT_SECONDS
    ends = [stage.event(job, EventKind.FAILED, seconds=PATIENCE_SECONDS) for job in jobs]
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
        summary="a job that takes all the memory it may have",
        play=partial(_poison_that_fails, mode=FaultMode.OUT_OF_MEMORY),
    ),
    Scenario(
        name="poison_gpu_memory",
        summary="a job that takes all the memory of its GPU",
        play=partial(_poison_that_fails, mode=FaultMode.GPU_MEMORY),
    ),
    Scenario(
        name="ignore_signals",
        summary="jobs that ignore SIGTERM, SIGINT and the soft limit, on every GPU",
        play=ignore_signals,
        promise=Promise(detected_seconds=2, recovered_seconds=5),
    ),
)
