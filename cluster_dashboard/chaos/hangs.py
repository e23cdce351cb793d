"""SIGSTOP of a worker, and what it does when it goes on."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import Final

from cluster_dashboard.chaos.scenario import WORKER_LOST, Scenario
from cluster_dashboard.chaos.scorecard import Seen
from cluster_dashboard.chaos.stage import Stage
from gpu_tasks.faults import requests as fault_requests
from gpu_tasks.faults.injection import Victim
from scheduler.models import Tally
from scheduler.rules.faults import FaultKind

#: A worker that has to be asked cannot be woken: it goes on by itself when all that is looked for has happened.
HANG_SECONDS: Final = 14.0
#: Longer than the hang would be wrong: the job's own time must be over when its process goes on, and its second
#: attempt must still run then.
JOB_SECONDS: Final = 8.0
PATIENCE_SECONDS: Final = 15.0
#: For a result that is there as soon as its process goes on.
LATE_RESULT_SECONDS: Final = 8.0


def pause_worker(stage: Stage) -> None:
    start, victim, refused = _hang(stage)
    stage.see_taken_back(start, patience_seconds=PATIENCE_SECONDS)
    _see_late_result_refused(stage, victim, start.gpu or 0, refused)


def pause_worker_kill_successor(stage: Stage) -> None:
    start, victim, refused = _hang(stage)
    again = stage.see_taken_back(start, patience_seconds=PATIENCE_SECONDS)
    stage.moment(0.1, 0.5)
    stage.strike(FaultKind.WORKER_KILLED, again.gpu or 0)
    _see_late_result_refused(stage, victim, start.gpu or 0, refused)


def _hang(stage: Stage) -> tuple[Seen, Victim, int]:
    """A worker that hangs with its job; the start of that job, the worker, and late results refused so far."""
    (job,) = stage.sleeps(JOB_SECONDS, max_failures=5)
    stage.expect([job])
    (start,) = stage.starts([job])
    stage.moment()
    refused = Tally.objects.total("commit_refused")
    victim = stage.strike(FaultKind.WORKER_HUNG, start.gpu or 0, hang_seconds=HANG_SECONDS)
    return start, victim, refused


def _see_late_result_refused(stage: Stage, victim: Victim, gpu: int, refused: int) -> None:
    """The job's process goes on first: its time is over, and its result is there before its worker can stop it."""
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
        summary="SIGSTOP of a worker and its job; both go on when the job runs elsewhere",
        play=pause_worker,
        promise=WORKER_LOST,
        gpus=2,
    ),
    Scenario(
        name="pause_worker_kill_successor",
        summary="the same, and the worker that took the job over is killed",
        play=pause_worker_kill_successor,
        promise=WORKER_LOST,
        gpus=2,
    ),
)
