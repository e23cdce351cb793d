"""The GPU worker: a Celery worker with a pulse and a warden, pinned to one GPU."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from threading import Event, Thread
from typing import Any
from uuid import uuid4

from celery import bootsteps
from celery.signals import task_prerun, worker_process_init
from django.conf import settings
from django.db import close_old_connections, connection
from django.db.models.functions import Now

from gpu_tasks import fork_guard, injection, tasks
from gpu_tasks.gpus import open_gpu, resolve_backend
from gpu_tasks.held import Held
from gpu_tasks.pulse import SAMPLE_SECONDS, Pulse, Standing
from gpu_tasks.runner import Runner
from gpu_tasks.spool import Spool
from gpu_tasks.task_events import LateFlush
from gpu_tasks.warden import PERIOD_SECONDS, Warden
from gpu_tasks.witness import Witness
from scheduler import lifecycle
from scheduler.celery import app, job_queue, worker_main
from scheduler.faults import default_failure_rate
from scheduler.gpu import GpuIdentity
from scheduler.logs import event_logger
from scheduler.models import ClusterEvent, Gpu
from scheduler.queues import PLAIN_QUEUES
from scheduler.redis_client import connect
from scheduler.vitals import Sign, Vitals

log = event_logger(__name__)


def main(index: int) -> None:
    """Runs worker gpu-<index> in this process until SIGTERM."""
    backend_name = resolve_backend(settings.ENVIRONMENT.gpu_backend)
    gpu = open_gpu(
        backend_name,
        index,
        settings.ENVIRONMENT.seed or 0,
        simulated_memory_mib=settings.ENVIRONMENT.gpu_memory_mib(index),
    )
    identity, boot, has_cuda = gpu.identity(), uuid4().hex, backend_name == "nvml"
    if has_cuda and identity.uuid is not None:
        # By UUID: an index would shift when a card falls off the bus. Before any child is forked.
        os.environ["CUDA_VISIBLE_DEVICES"] = identity.uuid
    _register(index, boot, backend_name, identity)
    _release(index, boot)
    connection.close()

    state = Path(settings.STATE_DIR)
    witness = Witness(state / "witness", index, boot)
    held, spool = Held(), Spool(state / "spool" / f"gpu-{index}", witness)
    tasks.register(Runner(gpu=index, boot=boot, held=held, spool=spool, witness=witness, has_cuda=has_cuda))
    fork_guard.install()
    injection.ignore_orders()
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
    )
    app.steps["worker"].add(_watch_step(pulse, spool))
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

    def respawn(self) -> None:
        # On the hub's thread: the parent-death signal follows the thread that forks.
        self._worker.hub.call_soon(self._worker.pool._pool.maintain_pool)

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


class Ticker(Thread):
    """Calls `tick(monotonic seconds)` once a period until stopped; `works` says whether that was of any use."""

    def __init__(
        self, name: str, tick: Callable[[float], None], period_seconds: float, works: Callable[[], bool]
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._tick, self._period, self._works, self._stopping = tick, period_seconds, works, Event()
        self.sign = Sign(name)

    def run(self) -> None:
        while not self._stopping.wait(self._period):
            self.sign.turned()
            try:
                self._tick(time.monotonic())
            except Exception:
                # A bug of ours must not end the heartbeat: that would kill a healthy worker's job.
                log.exception("tick_failed", ticker=self.name)
            else:
                if self._works():
                    self.sign.worked()
        connection.close()

    def stop(self) -> None:
        self._stopping.set()
        self.join(timeout=5)


def _watch_step(pulse: Pulse, spool: Spool) -> type[bootsteps.StartStopStep]:
    """The bootstep that starts pulse and warden with the worker, before the first hint is taken."""

    class Watch(bootsteps.StartStopStep):
        requires = ("celery.worker.components:Pool",)

        def __init__(self, parent: Any, **options: Any) -> None:
            super().__init__(parent, **options)
            self._warden = Warden(
                gpu=pulse.gpu,
                boot=pulse.boot,
                held=pulse.held,
                spool=spool,
                standing=pulse.standing,
                pool=CeleryPool(parent),
                sample=lambda: pulse.sample,
            )
            self._tickers = [
                Ticker("pulse", pulse.tick, SAMPLE_SECONDS, pulse.is_heard),
                Ticker("warden", self._warden.tick, PERIOD_SECONDS, self._warden.has_database),
            ]
            health_file = Path(settings.RUN_DIR, f"gpu-{pulse.gpu}.health")
            self._vitals = Vitals(health_file, [ticker.sign for ticker in self._tickers])

        def start(self, parent: Any) -> None:
            parent.consumer.on_send_event_buffered = LateFlush(parent.consumer)
            pulse.tick(time.monotonic())
            self._warden.check_eligibility()
            for ticker in self._tickers:
                ticker.start()
            self._vitals.start()

        def stop(self, parent: Any) -> None:
            self._vitals.stop()
            # The warden first: it would take the child killed at a stop for a death.
            pulse_ticker, warden_ticker = self._tickers
            warden_ticker.stop()
            self._warden.stop()
            pulse_ticker.stop()

        terminate = stop

    return Watch


@worker_process_init.connect
def _lead_a_group(**_: Any) -> None:
    """The child and all that its jobs start are one process group, so that it can be killed as a whole."""
    os.setpgid(0, 0)


@task_prerun.connect
def _drop_dead_connections(**_: Any) -> None:
    # Kept connections must survive a restart of the database.
    close_old_connections()
