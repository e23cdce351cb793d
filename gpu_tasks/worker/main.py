"""The GPU worker: a Celery worker that is pinned to one GPU, and the threads that watch it.

The threads of its main process, by name, with their period and what each may touch:

- MainThread: Celery's hub. Takes hints, forks the job process, starts and stops reading queues. No database: only at
  the start, at the stop, and to say that CUDA was loaded too early.
- heartbeat (0.5 s): Redis, the GPU, the names of kept endings. Never the database, never a process.
- watch (0.25 s): the job process and what it started (`child_watch`), the database, kept endings; opens the valve.
- cut_off (1 s): times only. May shut the valve and kill the job process. Waits for nothing.
- watchdog (0.5 s): counts only. May stop the worker, and then records it in the database.
- faults (0.5 s): Redis; carries injected faults out with signals.
- vitals (1 s): the health file; ends a process with a stuck loop.

What they share: the page of the job that is held (`held`), the valve (`valve`, one lock), and Celery's pool
(`celery_pool`, whose changes run in MainThread). The threads use the database only inside `fork_guard.database()`. The
job process has none of these threads: it claims, runs and commits (`runner`).
"""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from celery import bootsteps
from celery.signals import task_prerun, worker_before_create_process, worker_process_init
from celery.worker import state as worker_state
from django.conf import settings
from django.db import close_old_connections, connection
from django.db.models.functions import Now

from gpu_tasks.faults import injection
from gpu_tasks.faults import requests as fault_requests
from gpu_tasks.faults.requests import RequestedFaults
from gpu_tasks.gpus import open_gpu, resolve_backend
from gpu_tasks.processes import fork_guard, job_processes
from gpu_tasks.worker import child_watch, cut_off, heartbeat, tasks, watchdog
from gpu_tasks.worker.celery_pool import CeleryPool
from gpu_tasks.worker.child_watch import ChildWatch
from gpu_tasks.worker.commit import Commit
from gpu_tasks.worker.cut_off import CutOff
from gpu_tasks.worker.flower_events import LateFlush
from gpu_tasks.worker.gate import Gate, refuse_fork_after_cuda
from gpu_tasks.worker.heartbeat import Heartbeat
from gpu_tasks.worker.held import Held
from gpu_tasks.worker.runner import Runner
from gpu_tasks.worker.spool import Spool
from gpu_tasks.worker.valve import Valve
from gpu_tasks.worker.watchdog import Watchdog
from gpu_tasks.worker.witness import Witness
from scheduler.celery import app, worker_main
from scheduler.database_errors import DatabaseFailure
from scheduler.logs import event_logger
from scheduler.loops.ticker import Ticker
from scheduler.loops.vitals import Vitals
from scheduler.models import ClusterEvent, Gpu
from scheduler.redis_client import connect
from scheduler.rules.faults import default_failure_rate
from scheduler.rules.gpu import GpuBackend, GpuIdentity
from scheduler.rules.queues import PLAIN_QUEUES

log = event_logger(__name__)


def main(index: int, *, device: int) -> None:
    """Runs the worker of the cluster's GPU `index`, this machine's `device`, in this process until SIGTERM."""
    backend_name = resolve_backend(settings.ENVIRONMENT.gpu_backend)

    def open_this_gpu() -> GpuBackend:
        environment = settings.ENVIRONMENT
        return open_gpu(
            backend_name,
            index,
            environment.seed or 0,
            simulated_memory_mib=environment.gpu_memory_mib(index),
            device=device,
        )

    backend = open_this_gpu()
    identity, boot, has_cuda = backend.identity(), uuid4().hex, backend_name == "nvml"
    if has_cuda and identity.uuid is not None:
        # By UUID: an index would shift when a card falls off the bus. Before any child is forked.
        os.environ["CUDA_VISIBLE_DEVICES"] = identity.uuid
    state = Path(settings.STATE_DIR)
    witness = Witness(state / "witness", index, boot)
    commit = Commit(gpu=index, boot=boot, spool=Spool(state / "spool" / f"gpu-{index}"), witness=witness)
    held = Held()
    record = job_processes.Record(Path(settings.RUN_DIR, f"gpu-{index}.processes"))
    left_over = record.end_left_overs()
    _register(index, boot, backend_name, identity)
    _settle_the_past(commit)
    connection.close()

    gate = Gate(gpu=index, uuid=identity.uuid, has_cuda=has_cuda, held=held, open_gpu=open_this_gpu)
    tasks.register(
        Runner(gpu=index, boot=boot, held=held, commit=commit, witness=witness, gate=gate, has_cuda=has_cuda)
    )
    job_processes.adopt_orphans()
    fork_guard.install()
    injection.ignore_orders()
    if has_cuda:
        worker_before_create_process.connect(lambda **_: refuse_fork_after_cuda(index), weak=False)
    worker_process_init.connect(lambda **_: _prepare_child(gate), weak=False)
    parts = Parts(gpu=index, boot=boot, backend=backend, held=held, commit=commit, record=record, left_over=left_over)
    app.steps["worker"].add(_step(parts))
    worker_main(hostname=f"gpu-{index}", queues=PLAIN_QUEUES, pool="prefork")


def _register(index: int, boot: str, backend_name: str, identity: GpuIdentity) -> None:
    """What is known of the GPU; switches that people set are left alone."""
    known = {
        "host": socket.gethostname(),
        "backend": backend_name,
        "uuid": identity.uuid or "",
        "name": identity.name or "",
        "memory_total_mib": identity.memory_total_mib,
        "power_limit_w": identity.power_limit_w,
        "boot": boot,
        "booted_at": Now(),
    }
    created = {**known, "failure_rate": default_failure_rate(index, settings.ENVIRONMENT.gpu_count)}
    Gpu.objects.update_or_create(index=index, defaults=known, create_defaults=created)


def _settle_the_past(commit: Commit) -> None:
    """Before the first hint is taken: what an older boot kept is committed, what it left running is requeued."""
    commit.commit_kept()
    for job_id in commit.requeue_left_by_older_boots():
        ClusterEvent.objects.create(
            kind="worker_restarted",
            gpu=commit.gpu,
            message=f"GPU {commit.gpu}: worker restarted; job {job_id} requeued",
        )


# --- the threads ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the threads work on; made before Celery starts."""

    gpu: int
    boot: str
    backend: GpuBackend
    held: Held
    commit: Commit
    record: job_processes.Record
    #: Processes of an older boot's job that could not be killed.
    left_over: list[int]


class Threads:
    """The rooms of one worker, wired, and their threads."""

    def __init__(self, parts: Parts, pool: CeleryPool) -> None:
        gpu, held = parts.gpu, parts.held
        self.valve = Valve(
            gpu=gpu,
            boot=parts.boot,
            held=held,
            commit=parts.commit,
            pool=pool,
            sample=lambda: self._heartbeat.sample,
        )
        self._heartbeat = Heartbeat(
            gpu=gpu,
            boot=parts.boot,
            pid=os.getpid(),
            host=socket.gethostname(),
            backend=parts.backend,
            held=held,
            valve=self.valve,
            child_pid=pool.child_pid,
            kept=parts.commit.spool.keys,
            redis=connect(),
        )
        self._child = ChildWatch(
            gpu=gpu,
            held=held,
            commit=parts.commit,
            valve=self.valve,
            pool=pool,
            record=parts.record,
            left_over=parts.left_over,
        )
        self._watchdog = Watchdog(
            gpu=gpu,
            held=held,
            reading=lambda: self.valve.reading,
            hints_waiting=self._heartbeat.hints_waiting,
            taken=lambda: worker_state.all_total_count[0],
            has_reserved=lambda: bool(worker_state.reserved_requests),
            restart=lambda: _restart_deaf(pool, gpu),
            end=pool.end,
        )
        cut_off_watch = CutOff(
            gpu=gpu,
            held=held,
            valve=self.valve,
            child=self._child,
            heard_at=lambda: self._heartbeat.last_confirmed,
        )
        faults = RequestedFaults(gpu=gpu, child_pid=pool.child_pid, redis=connect())
        self._heartbeat_ticker = Ticker("heartbeat", self._heartbeat.tick, heartbeat.SAMPLE_SECONDS)
        self._watch_ticker = Ticker("watch", self._child.tick, child_watch.WATCH_PERIOD_SECONDS)
        self._cut_off_ticker = Ticker("cut_off", cut_off_watch.tick, cut_off.CUT_OFF_PERIOD_SECONDS)
        self._watchdog_ticker = Ticker("watchdog", self._watchdog.tick, watchdog.WATCHDOG_PERIOD_SECONDS)
        self._faults_ticker = Ticker("faults", faults.tick, fault_requests.FAULTS_PERIOD_SECONDS)
        self._vitals = Vitals(
            Path(settings.RUN_DIR, f"gpu-{gpu}.health"), [self._heartbeat_ticker.sign, self._watch_ticker.sign]
        )

    def start(self) -> None:
        """The first heartbeat and the first look at the GPU's eligibility come before the first hint."""
        self._heartbeat.tick(time.monotonic())
        self._child.check_eligibility()
        for ticker in (
            self._heartbeat_ticker,
            self._watch_ticker,
            self._cut_off_ticker,
            self._watchdog_ticker,
            self._faults_ticker,
        ):
            ticker.start()
        self._vitals.start()

    def stop(self) -> None:
        self._vitals.stop()
        # Only asked now: it may wait for a broker that does not answer.
        self._faults_ticker.ask_to_stop()
        # These first: they would take the job process that is killed at a stop for one that died.
        self._watch_ticker.stop()
        self._cut_off_ticker.stop()
        if not self._watchdog.has_bitten:
            self._watchdog_ticker.stop()
        self._child.stop()
        self._heartbeat_ticker.stop()
        self._faults_ticker.stop()


def _step(parts: Parts) -> type[bootsteps.StartStopStep]:
    """The bootstep that starts the threads with Celery's worker, and stops them before its pool."""

    class Step(bootsteps.StartStopStep):
        requires = ("celery.worker.components:Pool",)

        def __init__(self, parent: Any, **options: Any) -> None:
            super().__init__(parent, **options)
            self._threads = Threads(parts, CeleryPool(parent))
            tasks.HintRequest.valve = self._threads.valve

        def start(self, parent: Any) -> None:
            parent.consumer.on_send_event_buffered = LateFlush(parent.consumer)
            self._threads.start()

        def stop(self, parent: Any) -> None:
            self._threads.stop()

        terminate = stop

    return Step


def _restart_deaf(pool: CeleryPool, gpu: int) -> None:
    pool.restart()
    message = f"GPU {gpu}: worker took no hint for {watchdog.DEAF_SECONDS:.0f} s though its queues are not empty"
    try:
        with fork_guard.database():
            ClusterEvent.objects.create(kind="worker_deaf", gpu=gpu, message=f"{message}; it restarts")
    except DatabaseFailure as error:
        log.warning("event_not_recorded", gpu=gpu, error=error)


# --- the job process ------------------------------------------------------------------------------


def _prepare_child(gate: Gate) -> None:
    """The job process and all that its jobs start are one family, which can be killed as a whole; and its pinning is
    proved early."""
    job_processes.lead()
    try:
        if gate.has_cuda:
            gate.mispinned_because()
    except DatabaseFailure as error:
        log.warning("pinning_not_checked_yet", error=error)


@task_prerun.connect
def _drop_dead_connections(**_: Any) -> None:
    # Kept connections must survive a restart of the database.
    close_old_connections()
