"""The GPU worker: a Celery worker that is pinned to one GPU. `threads` describes the threads that watch it."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

from celery import bootsteps
from celery.signals import task_prerun, worker_before_create_process, worker_process_init
from django.conf import settings
from django.db import close_old_connections, connection
from django.db.models.functions import Now

from gpu_tasks.faults import injection
from gpu_tasks.gpus import open_gpu, resolve_backend
from gpu_tasks.gpus.heat import HeatFile
from gpu_tasks.processes import fork_guard, job_processes
from gpu_tasks.worker import tasks
from gpu_tasks.worker.celery_pool import CeleryPool
from gpu_tasks.worker.commit import Commit
from gpu_tasks.worker.flower_events import LateFlush
from gpu_tasks.worker.gate import Gate, refuse_fork_after_cuda
from gpu_tasks.worker.held import Held
from gpu_tasks.worker.runner import Runner
from gpu_tasks.worker.spool import Spool
from gpu_tasks.worker.threads import Parts, Threads
from gpu_tasks.worker.witness import Witness
from scheduler.celery import app, worker_main
from scheduler.logs import event_logger
from scheduler.loops.ownership import require_ownership
from scheduler.models import ClusterEvent, Gpu
from scheduler.redis_client import connect
from scheduler.rules.faults import default_failure_rate
from scheduler.rules.gpu import GpuBackend, GpuIdentity
from scheduler.rules.queues import PLAIN_QUEUES

log = event_logger(__name__)


def main(index: int, *, device: int | str) -> None:
    """Runs the worker of the cluster's GPU `index`, this machine's `device` (a number or UUID), in this process until
    SIGTERM."""
    backend_name = resolve_backend(settings.ENVIRONMENT.gpu_backend)
    uuid = known_uuid(index) if backend_name == "nvml" else None

    def open_this_gpu() -> GpuBackend:
        environment = settings.ENVIRONMENT
        return open_gpu(
            backend_name,
            index,
            environment.seed or 0,
            simulated_memory_mib=environment.gpu_memory_mib(index),
            heat=HeatFile(Path(settings.STATE_DIR, "simulated", f"gpu-{index}.json")),
            device=device,
            uuid=uuid,
        )

    backend = open_this_gpu()
    identity, boot, has_cuda = backend.identity(), uuid4().hex, backend_name == "nvml"
    uuid = identity.uuid or uuid  # of the job process's GPU too
    if has_cuda and uuid is not None:
        # By UUID: an index would shift when a card falls off the bus. Set before any child is forked.
        os.environ["CUDA_VISIBLE_DEVICES"] = uuid
    state = Path(settings.STATE_DIR)
    witness = Witness(state / "witness", index, boot)
    commit = Commit(gpu=index, boot=boot, spool=Spool(state / "spool" / f"gpu-{index}"), witness=witness)
    held = Held()
    record = job_processes.Record(Path(settings.RUN_DIR, f"gpu-{index}.processes"))
    left_over = record.end_left_overs()
    # Before the first write: it would take the GPUs, and requeue the jobs, of a cluster that lives.
    require_ownership(connect())
    _register(index, boot, backend_name, identity)
    _settle_the_past(commit)
    connection.close()

    gate = Gate(gpu=index, uuid=uuid, has_cuda=has_cuda, held=held, open_gpu=open_this_gpu)
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
    worker_main(hostname=f"gpu-{index}", queues=PLAIN_QUEUES, pool="prefork", task_events=True)


def known_uuid(index: int) -> str | None:
    """The UUID of the GPU that this index has been on this machine so far: a card that falls off the bus shifts the
    numbers of the others, and the worker must not take its neighbour's. None: there was none, or an operator has
    drained the GPU, as before its card is replaced."""
    row = Gpu.objects.filter(index=index, backend="nvml", host=socket.gethostname(), drained=False).first()
    return None if row is None else row.uuid or None


def _register(index: int, boot: str, backend_name: str, identity: GpuIdentity) -> None:
    """Stores what is known of the GPU; what is not known now, and switches that an operator set, stay as they are."""
    read = {
        "uuid": identity.uuid,
        "name": identity.name,
        "memory_total_mib": identity.memory_total_mib,
        "power_limit_w": identity.power_limit_w,
    }
    known = {
        "host": socket.gethostname(),
        "backend": backend_name,
        **{name: value for name, value in read.items() if value is not None},
        "boot": boot,
        "booted_at": Now(),
    }
    created = {**known, "failure_rate": default_failure_rate(index, settings.ENVIRONMENT.gpu_count)}
    Gpu.objects.update_or_create(index=index, defaults=known, create_defaults=created)


def _settle_the_past(commit: Commit) -> None:
    """Commits the results that an older boot kept, and requeues the job that it left running. Runs before the first
    hint is received."""
    commit.commit_kept()
    for job_id in commit.requeue_left_by_older_boots():
        ClusterEvent.objects.create(
            kind="worker_restarted",
            gpu=commit.gpu,
            message=f"GPU {commit.gpu}: worker restarted; job {job_id} requeued",
        )


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


# --- the job process ------------------------------------------------------------------------------


def _prepare_child(gate: Gate) -> None:
    """Makes the job process and everything that its jobs start one group, which can be killed as a whole; and checks
    the pinning early."""
    job_processes.lead()
    try:
        if gate.has_cuda and gate.held.may_load_cuda(time.monotonic()):
            gate.mispinned_because()
    except Exception as error:  # noqa: BLE001 (the check before the first job meets it again, and says so)
        log.warning("pinning_not_checked_yet", error=error)


@task_prerun.connect
def _drop_dead_connections(**_: Any) -> None:
    # Kept connections must survive a restart of the database.
    close_old_connections()
