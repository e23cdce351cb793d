"""SIGSTOP of a worker, and what it does when it continues."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import Final

from cluster_dashboard.chaos.scenario import WORKER_LOST, Scenario
from cluster_dashboard.chaos.scorecard import SeenEvent
from cluster_dashboard.chaos.stage import Stage
from gpu_tasks.faults import requests as fault_requests
from gpu_tasks.faults.injection import Victim
from scheduler.models import Tally
from scheduler.rules.faults import FaultKind

#: A worker that is out of reach of signals cannot be continued from here: it continues by itself after this time.
SUSPENDED_SECONDS: Final = 14.0
#: Shorter than the suspension: the first attempt must be over when its process continues. Long enough for the second
#: attempt to run still.
SUSPENDED_JOB_SECONDS: Final = 8.0
REQUEUE_PATIENCE_SECONDS: Final = 15.0
#: The wait for a result that is ready as soon as its process continues.
LATE_RESULT_SECONDS: Final = 8.0


def pause_worker(stage: Stage) -> None:
    start, victim, refused = _suspend(stage)
    stage.see_requeued(start, patience_seconds=REQUEUE_PATIENCE_SECONDS)
    _see_late_result_refused(stage, victim, start.gpu or 0, refused)


def pause_worker_kill_successor(stage: Stage) -> None:
    start, victim, refused = _suspend(stage)
    again = stage.see_requeued(start, patience_seconds=REQUEUE_PATIENCE_SECONDS)
    stage.moment(0.1, 0.5)
    stage.inject(FaultKind.WORKER_KILLED, again.gpu or 0)
    _see_late_result_refused(stage, victim, start.gpu or 0, refused)


def _suspend(stage: Stage) -> tuple[SeenEvent, Victim, int]:
    """Suspends a worker with its job; returns the job's start, the worker, and the number of results refused before."""
    (job,) = stage.sleeps(SUSPENDED_JOB_SECONDS, max_failures=5)
    stage.expect([job])
    (start,) = stage.starts([job])
    stage.moment()
    refused = Tally.objects.total("commit_refused")
    victim = stage.inject(FaultKind.WORKER_HUNG, start.gpu or 0, hang_seconds=SUSPENDED_SECONDS)
    return start, victim, refused


def _see_late_result_refused(stage: Stage, victim: Victim, gpu: int, refused: int) -> None:
    """The job process continues first: its result is ready before its worker can stop it."""
    if victim.child_pid is not None and fault_requests.is_on_this_machine(victim, gpu):
        with suppress(ProcessLookupError):
            os.kill(victim.child_pid, signal.SIGCONT)
    stage.wait_for(
        lambda: Tally.objects.total("commit_refused") > refused, LATE_RESULT_SECONDS, "the late result was refused"
    )
    fault_requests.wake(victim, gpu)
    stage.healed()
    stage.facts["late_results_refused"] = Tally.objects.total("commit_refused") - refused


SCENARIOS: Final = (
    Scenario(
        name="pause_worker",
        summary="SIGSTOP of a worker and its job process; both continue when the job runs on another GPU",
        play=pause_worker,
        promise=WORKER_LOST,
        gpus=2,
    ),
    Scenario(
        name="pause_worker_kill_successor",
        summary="the same, and the worker that runs the job then is killed",
        play=pause_worker_kill_successor,
        promise=WORKER_LOST,
        gpus=2,
    ),
)
