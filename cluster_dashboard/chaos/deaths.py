"""kill -9 of each kind of process."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from django.conf import settings

from cluster_dashboard.chaos import signs, web
from cluster_dashboard.chaos.scenario import BACK_SOON_SECONDS, WORKER_LOST, Scenario
from cluster_dashboard.chaos.scorecard import Promise, SeenEvent, Since
from cluster_dashboard.chaos.stage import Stage
from gpu_tasks.processes import cluster_pids
from scheduler.loops.heartbeats import read_beats
from scheduler.rules.faults import FaultKind
from scheduler.rules.states import EventKind

#: The time that a scenario waits for what is promised: longer than the promise, so that a delay is measured.
RECOVERY_PATIENCE_SECONDS: Final = 30.0
#: The job must still run when the fault comes: every GPU must have a job first, and a worker that is out of reach of
#: signals carries a fault out up to 4 s later.
VICTIM_JOB_SECONDS: Final = 10.0
#: Promised for a worker that was killed.
WORKER_BACK_SECONDS: Final = 5.0


def kill_child(stage: Stage) -> None:
    victim = _running_job(stage)
    stage.inject(FaultKind.CHILD_KILLED, victim.gpu or 0)
    stage.see_requeued(victim, patience_seconds=RECOVERY_PATIENCE_SECONDS)


def kill_worker(stage: Stage) -> None:
    victim = _running_job(stage)
    gpu = victim.gpu or 0
    # By its boot: in a container, its successor has the same pid.
    boot = read_beats(stage.redis)[gpu].boot
    stage.inject(FaultKind.WORKER_KILLED, gpu)
    killed_at = time.monotonic()
    stage.wait_for(
        lambda: read_beats(stage.redis)[gpu].boot != boot, RECOVERY_PATIENCE_SECONDS, f"gpu-{gpu} has a new worker"
    )
    _note_worker_back(stage, time.monotonic() - killed_at)
    stage.see_requeued(victim, patience_seconds=RECOVERY_PATIENCE_SECONDS)


def kill_all_workers(stage: Stage) -> None:
    jobs = stage.sleeps(2.0, count=3 * len(stage.gpus))
    stage.expect(jobs)
    stage.starts(jobs, len(stage.gpus))
    stage.moment(0.1, 0.8)
    for gpu in stage.gpus:
        stage.inject(FaultKind.WORKER_KILLED, gpu)
    hit_at = stage.clock.now()
    cut = _running_at(stage.events(jobs), hit_at)
    for start in cut:
        stage.see_requeued(start, patience_seconds=RECOVERY_PATIENCE_SECONDS)
    # The last one of them counts.
    events = stage.events([start.job for start in cut])
    stage.detected(max(event.at for event in events if event.kind == EventKind.REQUEUED))
    stage.recovered(max(event.at for event in events if event.kind == EventKind.STARTED))


def _running_job(stage: Stage) -> SeenEvent:
    """Starts one job on each GPU; returns the start of one of them, after a moment."""
    jobs = stage.sleeps(VICTIM_JOB_SECONDS, count=len(stage.gpus))
    stage.expect(jobs)
    victim = stage.rng.choice(stage.starts(jobs, len(stage.gpus)))
    stage.moment()
    return victim


def _running_at(events: list[SeenEvent], at: float) -> list[SeenEvent]:
    ended = {(event.job, event.attempt): event.at for event in events if event.kind == EventKind.SUCCEEDED}
    return [
        event
        for event in events
        if event.kind == EventKind.STARTED and event.at <= at < ended.get((event.job, event.attempt), float("inf"))
    ]


def _note_worker_back(stage: Stage, seconds: float) -> None:
    stage.facts["worker_back_seconds"] = round(seconds, 2)
    if seconds > WORKER_BACK_SECONDS:
        stage.problems.append(f"promised: a new worker within {WORKER_BACK_SECONDS:g} s; it took {seconds:.1f} s")


# --- all other processes -------------------------------------------------------------------------------


def kill_scheduler(stage: Stage) -> None:
    # Without a hint, only the relay can find the job.
    _kill_role(stage, "scheduler", lambda: stage.see_jobs_flow(hint=False))


def kill_beat(stage: Stage) -> None:
    def ticks_arrive() -> None:
        with signs.listening(stage.redis) as ticks:
            stage.wait_for(ticks.heard, RECOVERY_PATIENCE_SECONDS, "a tick of the new beat arrives")
        stage.recovered()

    _kill_role(stage, "beat", ticks_arrive)


def kill_web(stage: Stage) -> None:
    _kill_role(stage, "web", partial(_answers, stage, settings.ENVIRONMENT.web_port, "/readyz"))


def kill_flower(stage: Stage) -> None:
    _kill_role(stage, "flower", partial(_answers, stage, settings.ENVIRONMENT.flower_port, "/"))


def _answers(stage: Stage, port: int, path: str) -> None:
    stage.wait_for(lambda: web.answers(port, path), RECOVERY_PATIENCE_SECONDS, f"port {port} answers")
    stage.recovered()


def _kill_role(stage: Stage, name: str, see_it_back: Callable[[], None]) -> None:
    """No worker dies, so no job may be requeued and no failure charged."""
    cluster_pids.pid_of(name)  # raises OutOfReach: before any job is submitted
    running = stage.sleeps(3.0)
    stage.starts(running)
    waiting = stage.sleeps(0.2, count=10)
    stage.expect([*running, *waiting], attempt=1)
    stage.moment()
    stage.injected()
    old_pid = cluster_pids.send(name, signal.SIGKILL)
    stage.wait_for(partial(has_successor, name, old_pid), RECOVERY_PATIENCE_SECONDS, f"{name} was started again")
    stage.detected()
    see_it_back()


def has_successor(name: str, old_pid: int) -> bool:
    pid = cluster_pids.read_pid(name)
    return pid is not None and pid != old_pid and cluster_pids.is_alive(pid)


def kill_supervisor(stage: Stage) -> None:
    """Every other process dies with it; its guardian starts another."""
    cluster_pids.pid_of(cluster_pids.SUPERVISOR)
    jobs = stage.sleeps(3.0, count=2 * len(stage.gpus))
    stage.expect(jobs)
    cut = stage.starts(jobs, len(stage.gpus))
    stage.moment()
    stage.injected()
    cluster_pids.send(cluster_pids.SUPERVISOR, signal.SIGKILL)
    stage.see_requeued(cut[0], patience_seconds=RECOVERY_PATIENCE_SECONDS)


_BACK_SOON: Final = Promise(detected_seconds=BACK_SOON_SECONDS, recovered_seconds=BACK_SOON_SECONDS)

SCENARIOS: Final = (
    Scenario(
        name="kill_child",
        summary="kill -9 of a job process",
        play=kill_child,
        promise=Promise(detected_seconds=2, recovered_seconds=12),
    ),
    Scenario(name="kill_worker", summary="kill -9 of a worker that runs a job", play=kill_worker, promise=WORKER_LOST),
    Scenario(
        name="kill_all_workers",
        summary="kill -9 of all workers at once",
        play=kill_all_workers,
        promise=WORKER_LOST,
    ),
    Scenario(name="kill_scheduler", summary="kill -9 of the scheduler", play=kill_scheduler, promise=_BACK_SOON),
    Scenario(name="kill_beat", summary="kill -9 of beat", play=kill_beat, promise=_BACK_SOON),
    Scenario(name="kill_web", summary="kill -9 of the web process", play=kill_web, promise=_BACK_SOON),
    Scenario(name="kill_flower", summary="kill -9 of Flower", play=kill_flower, promise=_BACK_SOON),
    Scenario(
        name="kill_supervisor",
        summary="kill -9 of the supervisor: every process dies with it",
        play=kill_supervisor,
        promise=WORKER_LOST,
    ),
)

#: For parts that are unavailable for a while.
AFTER_HEAL: Final = Promise(recovered_seconds=BACK_SOON_SECONDS, since=Since.HEAL)
