"""The threads of a GPU worker's main process, by name, with their period and what each may touch:

- MainThread: Celery's hub. Receives hints, forks the job process, starts and stops reading queues. Uses the database
  only at the start, at the stop, and to report that CUDA was loaded too early.
- sample (0.5 s): the GPU alone, which may not answer: nothing waits for this thread.
- heartbeat (0.5 s): Redis, the names of kept results. Never the GPU, the database or a process.
- watch (0.25 s): the job process and what it started (`child_watch`), the database, kept results; opens the valve.
- cut_off (1 s): times only. May shut the valve and kill the job process. Waits for nothing.
- watchdog (0.5 s): counts only. May stop the worker, and then records it in the database.
- faults (0.5 s): Redis; carries out injected faults with signals.
- vitals (1 s): the health file; ends a process with a stuck loop.

They share the page of the current job (`held`), the valve (`valve`, one lock), and Celery's pool (`celery_pool`, whose
changes run in MainThread). They use the database only inside `fork_guard.database()`. The job process has none of these
threads: it claims, runs and commits (`runner`).
"""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from celery.worker import state as worker_state
from django.conf import settings

from gpu_tasks.faults import requests as fault_requests
from gpu_tasks.faults.requests import RequestedFaults
from gpu_tasks.processes import fork_guard, job_processes
from gpu_tasks.worker import child_watch, cut_off, heartbeat, readings, watchdog
from gpu_tasks.worker.celery_pool import CeleryPool
from gpu_tasks.worker.child_watch import ChildWatch
from gpu_tasks.worker.commit import Commit
from gpu_tasks.worker.cut_off import CutOff
from gpu_tasks.worker.heartbeat import Heartbeat
from gpu_tasks.worker.held import Held
from gpu_tasks.worker.readings import Readings
from gpu_tasks.worker.valve import Valve
from gpu_tasks.worker.watchdog import Watchdog
from scheduler.database_errors import DatabaseFailure
from scheduler.logs import event_logger
from scheduler.loops.ticker import Ticker
from scheduler.loops.vitals import Vitals
from scheduler.models import ClusterEvent
from scheduler.redis_client import connect
from scheduler.rules.gpu import GpuBackend

log = event_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the threads work on; created before Celery starts."""

    gpu: int
    boot: str
    backend: GpuBackend
    held: Held
    commit: Commit
    record: job_processes.Record
    #: Processes of an older boot's job that could not be killed.
    left_over: list[int]


class Threads:
    """Creates the parts of one worker that run in threads, connects them, starts and stops them."""

    def __init__(self, parts: Parts, pool: CeleryPool) -> None:
        gpu, held = parts.gpu, parts.held
        self._readings = Readings(parts.backend, held)
        self.valve = Valve(
            gpu=gpu,
            boot=parts.boot,
            held=held,
            commit=parts.commit,
            pool=pool,
            reading_of_gpu=self._readings.newest,
        )
        self._heartbeat = Heartbeat(
            gpu=gpu,
            boot=parts.boot,
            pid=os.getpid(),
            host=socket.gethostname(),
            reading=self._readings.newest,
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
        self._sample_ticker = Ticker("sample", self._readings.tick, readings.SAMPLE_SECONDS)
        self._heartbeat_ticker = Ticker("heartbeat", self._heartbeat.tick, heartbeat.HEARTBEAT_PERIOD_SECONDS)
        self._watch_ticker = Ticker("watch", self._child.tick, child_watch.WATCH_PERIOD_SECONDS)
        self._cut_off_ticker = Ticker("cut_off", cut_off_watch.tick, cut_off.CUT_OFF_PERIOD_SECONDS)
        self._watchdog_ticker = Ticker("watchdog", self._watchdog.tick, watchdog.WATCHDOG_PERIOD_SECONDS)
        self._faults_ticker = Ticker("faults", faults.tick, fault_requests.FAULTS_PERIOD_SECONDS)
        self._vitals = Vitals(
            Path(settings.RUN_DIR, f"gpu-{gpu}.health"), [self._heartbeat_ticker.sign, self._watch_ticker.sign]
        )

    def start(self) -> None:
        """The first heartbeat and the first look at the GPU's eligibility come before the first hint."""
        self._sample_ticker.start()
        self._readings.wait_for_first()
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
        # Only asked to stop here, stopped last: it may be waiting for a broker that does not answer.
        self._faults_ticker.ask_to_stop()
        # First: otherwise they would treat the job process that is killed at a stop as one that died.
        self._watch_ticker.stop()
        self._cut_off_ticker.stop()
        if not self._watchdog.has_bitten:
            self._watchdog_ticker.stop()
        self._child.stop()
        self._heartbeat_ticker.stop()
        # Not waited for: the driver may never answer.
        self._sample_ticker.ask_to_stop()
        self._faults_ticker.stop()


def _restart_deaf(pool: CeleryPool, gpu: int) -> None:
    pool.restart()
    message = f"GPU {gpu}: worker took no hint for {watchdog.DEAF_SECONDS:.0f} s though its queues are not empty"
    try:
        with fork_guard.database():
            ClusterEvent.objects.create(kind="worker_deaf", gpu=gpu, message=f"{message}; it restarts")
    except DatabaseFailure as error:
        log.warning("event_not_recorded", gpu=gpu, error=error)
