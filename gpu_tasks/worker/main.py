"""The GPU worker: a Celery worker with a pulse and a warden, pinned to one GPU."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from celery import bootsteps
from celery.signals import task_prerun, worker_before_create_process, worker_process_init
from celery.worker import state as worker_state
from django.conf import settings
from django.db import DatabaseError, close_old_connections, connection
from django.db.models.functions import Now

from gpu_tasks.faults import injection
from gpu_tasks.gpus import open_gpu, resolve_backend
from gpu_tasks.processes import fork_guard, job_processes
from gpu_tasks.worker import tasks, watchdog
from gpu_tasks.worker.flower_events import LateFlush
from gpu_tasks.worker.gate import Gate, refuse_fork_after_cuda
from gpu_tasks.worker.heartbeat import SAMPLE_SECONDS, Pulse, Standing
from gpu_tasks.worker.held import Held
from gpu_tasks.worker.runner import Runner
from gpu_tasks.worker.spool import Spool
from gpu_tasks.worker.warden import LOOK_SECONDS, PERIOD_SECONDS, Warden
from gpu_tasks.worker.watchdog import Watchdog
from gpu_tasks.worker.witness import Witness
from scheduler.celery import app, job_queue, worker_main
from scheduler.jobs import lifecycle
from scheduler.logs import event_logger
from scheduler.loops.ticker import Ticker
from scheduler.loops.vitals import EXIT_STUCK, Vitals
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

    gpu = open_this_gpu()
    identity, boot, has_cuda = gpu.identity(), uuid4().hex, backend_name == "nvml"
    if has_cuda and identity.uuid is not None:
        # By UUID: an index would shift when a card falls off the bus. Before any child is forked.
        os.environ["CUDA_VISIBLE_DEVICES"] = identity.uuid
    state = Path(settings.STATE_DIR)
    witness = Witness(state / "witness", index, boot)
    held, spool = Held(), Spool(state / "spool" / f"gpu-{index}", witness)
    record = job_processes.Record(Path(settings.RUN_DIR, f"gpu-{index}.processes"))
    left_over = record.end_left_overs()
    _register(index, boot, backend_name, identity)
    spool.flush()
    _release(index, boot)
    connection.close()

    gate = Gate(gpu=index, uuid=identity.uuid, has_cuda=has_cuda, held=held, open_gpu=open_this_gpu)
    tasks.register(Runner(gpu=index, boot=boot, held=held, spool=spool, witness=witness, gate=gate, has_cuda=has_cuda))
    job_processes.adopt_orphans()
    fork_guard.install()
    injection.ignore_orders()
    if has_cuda:
        worker_before_create_process.connect(lambda **_: refuse_fork_after_cuda(index), weak=False)
    worker_process_init.connect(lambda **_: _prepare_child(gate), weak=False)
    standing = Standing()
    pulse = Pulse(
        gpu=index,
        boot=boot,
        pid=os.getpid(),
        host=socket.gethostname(),
        backend=gpu,
        held=held,
        standing=standing,
        redis=connect(),
        kept=spool.keys,
    )
    app.steps["worker"].add(_watch_step(pulse, spool, record, left_over))
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


def _release(index: int, boot: str) -> None:
    """Before the first hint is taken: an older boot's job goes back to the queue."""
    for job_id in lifecycle.release_gpu(index, boot=boot):
        log.warning("job_of_older_boot_returned", job=job_id, gpu=index)
        ClusterEvent.objects.create(
            kind="worker_restarted",
            gpu=index,
            message=f"GPU {index}: worker is back; job {job_id} went back to the queue",
        )


class CeleryPool:
    """What the warden needs, on a Celery worker."""

    def __init__(self, worker: Any) -> None:
        self._worker = worker
        self._wanted: frozenset[str] = frozenset()

    def child_pid(self) -> int | None:
        pool = self._worker.pool and self._worker.pool._pool
        return pool._pool[0].pid if pool and pool._pool else None

    def child_pids(self) -> Collection[int]:
        pool = self._worker.pool and self._worker.pool._pool
        # Celery lists a child before it forks it: its pid is None then.
        return [child.pid for child in tuple(pool._pool) if child.pid is not None] if pool and pool._pool else []

    def respawn(self) -> None:
        # On the hub's thread: the parent-death signal follows the thread that forks.
        self._worker.hub.call_soon(self._worker.pool._pool.maintain_pool)

    def replace(self, pid: int) -> None:
        # On the hub's thread: it alone hands hints to the child.
        self._worker.hub.call_soon(self._replace, pid)

    def _replace(self, pid: int) -> None:
        if pid == self.child_pid() and not worker_state.reserved_requests:
            job_processes.kill(pid)

    def restart(self) -> None:
        """Has the worker stop, so that whoever keeps it starts it again."""
        worker_state.should_stop = EXIT_STUCK  # type: ignore[assignment]
        # Whatever the hub waits for, it goes round now.
        self._worker.hub.call_soon(lambda: None)

    def end(self) -> None:
        if (pid := self.child_pid()) is not None:
            job_processes.kill(pid)
        os._exit(EXIT_STUCK)

    def consume(self, queues: Sequence[str]) -> None:
        self._wanted = frozenset(queues)
        consumer = self._worker.consumer
        if consumer is None or consumer.task_consumer is None:
            select_queues(self._wanted)
        else:
            # The hub runs what is called soon in any order: so each call sets what is wanted by then.
            consumer.call_soon(self._set_queues)

    def _set_queues(self) -> None:
        consumer, wanted = self._worker.consumer, self._wanted
        unwanted = set(app.amqp.queues.consume_from) - wanted
        # All at once first: a broker that goes away in the middle finds its consumer made anew from this.
        select_queues(wanted)
        for name in unwanted:
            consumer.cancel_task_queue(name)
        for name in wanted:
            consumer.add_task_queue(name)


def select_queues(wanted: Iterable[str]) -> None:
    """Before the consumer exists: what it will read when it starts."""
    queues = app.amqp.queues
    for name in set(queues.consume_from).difference(wanted):
        queues.deselect([name])
    for name in wanted:
        queues.select_add(job_queue(name))


def _watch_step(
    pulse: Pulse, spool: Spool, record: job_processes.Record, left_over: list[int]
) -> type[bootsteps.StartStopStep]:
    """The bootstep that starts pulse, warden and watchdog with the worker, before the first hint is taken."""

    class Watch(bootsteps.StartStopStep):
        requires = ("celery.worker.components:Pool",)

        def __init__(self, parent: Any, **options: Any) -> None:
            super().__init__(parent, **options)
            pool = CeleryPool(parent)
            self._warden = Warden(
                gpu=pulse.gpu,
                boot=pulse.boot,
                held=pulse.held,
                spool=spool,
                standing=pulse.standing,
                pool=pool,
                record=record,
                sample=lambda: pulse.sample,
                heard_at=lambda: pulse.last_confirmed,
                left_over=left_over,
            )
            tasks.HintRequest.heard_by = self._warden
            self._watchdog = Watchdog(
                gpu=pulse.gpu,
                held=pulse.held,
                standing=pulse.standing,
                taken=lambda: worker_state.all_total_count[0],
                has_reserved=lambda: bool(worker_state.reserved_requests),
                restart=lambda: _restart_deaf(pool, pulse.gpu),
                end=pool.end,
            )
            self._tickers = [
                Ticker("pulse", pulse.tick, SAMPLE_SECONDS),
                Ticker("warden", self._warden.tick, PERIOD_SECONDS),
            ]
            self._guards = [
                Ticker("cut_off", self._warden.watch_cut_off, LOOK_SECONDS),
                Ticker("watchdog", self._watchdog.tick, watchdog.PERIOD_SECONDS),
            ]
            health_file = Path(settings.RUN_DIR, f"gpu-{pulse.gpu}.health")
            self._vitals = Vitals(health_file, [ticker.sign for ticker in self._tickers])

        def start(self, parent: Any) -> None:
            parent.consumer.on_send_event_buffered = LateFlush(parent.consumer)
            pulse.tick(time.monotonic())
            self._warden.check_eligibility()
            for ticker in (*self._tickers, *self._guards):
                ticker.start()
            self._vitals.start()

        def stop(self, parent: Any) -> None:
            self._vitals.stop()
            # The warden first: it would take the child killed at a stop for a death.
            pulse_ticker, warden_ticker = self._tickers
            cut_off_ticker, watchdog_ticker = self._guards
            for ticker in (warden_ticker, cut_off_ticker):
                ticker.stop()
            if not self._watchdog.has_bitten:
                watchdog_ticker.stop()
            self._warden.stop()
            pulse_ticker.stop()

        terminate = stop

    return Watch


def _restart_deaf(pool: CeleryPool, gpu: int) -> None:
    pool.restart()
    message = f"GPU {gpu}: worker took no hint for {watchdog.DEAF_SECONDS:.0f} s though its queues are not empty"
    try:
        with fork_guard.database():
            ClusterEvent.objects.create(kind="worker_deaf", gpu=gpu, message=f"{message}; it starts anew")
    except DatabaseError as error:
        log.warning("event_not_recorded", gpu=gpu, error=error)


def _prepare_child(gate: Gate) -> None:
    """The child and all that its jobs start are one family, which can be killed as a whole; and it is proved early
    that it is pinned."""
    job_processes.lead()
    try:
        if gate.has_cuda:
            gate.mispinned_because()
    except DatabaseError as error:
        log.warning("pinning_not_checked_yet", error=error)


@task_prerun.connect
def _drop_dead_connections(**_: Any) -> None:
    # Kept connections must survive a restart of the database.
    close_old_connections()
