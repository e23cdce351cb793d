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
from cluster_dashboard.chaos.scorecard import Promise, Seen, Since
from cluster_dashboard.chaos.stage import Stage
from gpu_tasks.processes import cluster_pids
from scheduler.loops.heartbeats import read_beats
from scheduler.rules.faults import FaultKind
from scheduler.rules.states import EventKind

#: How long is looked for what is promised, so that a miss is measured and not only noted.
PATIENCE_SECONDS: Final = 30.0
#: A job that still runs when it is hit: all GPUs must have one first, and a worker that has to be asked may take 4 s.
JOB_SECONDS: Final = 10.0
#: Promised for a worker that was killed.
WORKER_BACK_SECONDS: Final = 5.0


def kill_child(stage: Stage) -> None:
    victim = _running_job(stage)
    stage.strike(FaultKind.CHILD_KILLED, victim.gpu or 0)
    stage.see_taken_back(victim, patience_seconds=PATIENCE_SECONDS)


def kill_worker(stage: Stage) -> None:
    victim = _running_job(stage)
    gpu = victim.gpu or 0
    # By its boot: in a container its successor has the same pid.
    boot = read_beats(stage.redis)[gpu].boot
    stage.strike(FaultKind.WORKER_KILLED, gpu)
    killed_at = time.monotonic()
    stage.wait_for(lambda: read_beats(stage.redis)[gpu].boot != boot, PATIENCE_SECONDS, f"gpu-{gpu} beats")
    _note_worker_back(stage, time.monotonic() - killed_at)
    stage.see_taken_back(victim, patience_seconds=PATIENCE_SECONDS)


def kill_all_workers(stage: Stage) -> None:
    jobs = stage.sleeps(2.0, count=3 * len(stage.gpus))
    stage.expect(jobs)
    stage.starts(jobs, len(stage.gpus))
    stage.moment(0.1, 0.8)
    for gpu in stage.gpus:
        stage.strike(FaultKind.WORKER_KILLED, gpu)
    hit_at = stage.clock.now()
    cut = _running_at(stage.events(jobs), hit_at)
    for start in cut:
        stage.see_taken_back(start, patience_seconds=PATIENCE_SECONDS)
    # The last one of them is what counts.
    events = stage.events([start.job for start in cut])
    stage.detected(max(event.at for event in events if event.kind == EventKind.REQUEUED))
    stage.recovered(max(event.at for event in events if event.kind == EventKind.STARTED))


def _running_job(stage: Stage) -> Seen:
    """One job on each GPU; gives the start of one of them, which has run for a moment."""
    jobs = stage.sleeps(JOB_SECONDS, count=len(stage.gpus))
    stage.expect(jobs)
    victim = stage.rng.choice(stage.starts(jobs, len(stage.gpus)))
    stage.moment()
    return victim


def _running_at(events: list[Seen], at: float) -> list[Seen]:
    ended = {(event.job, event.attempt): event.at for event in events if event.kind == EventKind.SUCCEEDED}
    return [
        event
        for event in events
        if event.kind == EventKind.STARTED and event.at <= at < ended.get((event.job, event.attempt), float("inf"))
    ]


def _note_worker_back(stage: Stage, seconds: float) -> None:
    stage.facts["worker_back_seconds"] = round(seconds, 2)
    if seconds > WORKER_BACK_SECONDS:
        stage.problems.append(f"promised: the worker back within {WORKER_BACK_SECONDS:g} s; it took {seconds:.1f} s")


# --- everybody else -------------------------------------------------------------------------------


def kill_scheduler(stage: Stage) -> None:
    # Without a hint only the relay can find the job.
    _kill_role(stage, "scheduler", lambda: stage.see_jobs_flow(hint=False))


def kill_beat(stage: Stage) -> None:
    def ticks_come() -> None:
        with signs.listening(stage.redis) as ticks:
            stage.wait_for(ticks.heard, PATIENCE_SECONDS, "a tick of the new beat is heard")
        stage.recovered()

    _kill_role(stage, "beat", ticks_come)


def kill_web(stage: Stage) -> None:
    _kill_role(stage, "web", partial(_answers, stage, settings.ENVIRONMENT.web_port, "/readyz"))


def kill_flower(stage: Stage) -> None:
    _kill_role(stage, "flower", partial(_answers, stage, settings.ENVIRONMENT.flower_port, "/"))


def _answers(stage: Stage, port: int, path: str) -> None:
    stage.wait_for(lambda: web.answers(port, path), PATIENCE_SECONDS, f"port {port} answers")
    stage.recovered()


def _kill_role(stage: Stage, name: str, see_it_back: Callable[[], None]) -> None:
    """Nobody's worker dies: no attempt may be taken back, no failure charged."""
    cluster_pids.pid_of(name)  # out of reach: before there is any load
    running = stage.sleeps(3.0)
    stage.starts(running)
    waiting = stage.sleeps(0.2, count=10)
    stage.expect([*running, *waiting], attempt=1)
    stage.moment()
    stage.injected()
    old_pid = cluster_pids.send(name, signal.SIGKILL)
    stage.wait_for(partial(has_successor, name, old_pid), PATIENCE_SECONDS, f"{name} was started again")
    stage.detected()
    see_it_back()


def has_successor(name: str, old_pid: int) -> bool:
    pid = cluster_pids.read_pid(name)
    return pid is not None and pid != old_pid and cluster_pids.is_alive(pid)


def kill_supervisor(stage: Stage) -> None:
    """Everything dies with it; its guardian starts another."""
    cluster_pids.pid_of(cluster_pids.SUPERVISOR)
    jobs = stage.sleeps(3.0, count=2 * len(stage.gpus))
    stage.expect(jobs)
    cut = stage.starts(jobs, len(stage.gpus))
    stage.moment()
    stage.injected()
    cluster_pids.send(cluster_pids.SUPERVISOR, signal.SIGKILL)
    stage.see_taken_back(cut[0], patience_seconds=PATIENCE_SECONDS)


_BACK_SOON: Final = Promise(detected_seconds=BACK_SOON_SECONDS, recovered_seconds=BACK_SOON_SECONDS)

SCENARIOS: Final = (
    Scenario(
        name="kill_child",
        summary="kill -9 of the process in which a job runs",
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
        summary="kill -9 of the supervisor, and so of everything",
        play=kill_supervisor,
        promise=WORKER_LOST,
    ),
)

#: Where something is away for a while.
AFTER_HEAL: Final = Promise(recovered_seconds=BACK_SOON_SECONDS, since=Since.HEAL)
