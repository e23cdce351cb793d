"""What the worker's threads ask of Celery: its child processes, and which queues it reads.

Every method may be called from any thread. What changes Celery's state runs later, in the hub's thread.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from celery.worker import state as worker_state

from gpu_tasks.processes import job_processes
from scheduler.celery import app, job_queue
from scheduler.loops.vitals import EXIT_STUCK


class CeleryPool:
    def __init__(self, worker: Any) -> None:
        self._worker = worker
        self._wanted: frozenset[str] = frozenset()

    # --- the job process

    def child_pid(self) -> int | None:
        """The job process; None while there is none."""
        return next(iter(self.child_pids()), None)

    def child_pids(self) -> Collection[int]:
        """Every child that Celery knows: an old one too, until Celery has noticed its death."""
        pool = self._worker.pool and self._worker.pool._pool
        # Celery lists a child before it forks it: its pid is None then.
        return [child.pid for child in tuple(pool._pool) if child.pid is not None] if pool and pool._pool else []

    def respawn(self) -> None:
        """Has Celery notice the child's death now and start another."""
        # In the hub's thread: the parent-death signal follows the thread that forks.
        self._worker.hub.call_soon(self._worker.pool._pool.maintain_pool)

    def replace(self, pid: int) -> None:
        """Ends this child unless a hint was handed to it."""
        # In the hub's thread: it alone hands hints to the child.
        self._worker.hub.call_soon(self._replace, pid)

    def _replace(self, pid: int) -> None:
        if pid == self.child_pid() and not worker_state.reserved_requests:
            job_processes.kill(pid)

    # --- the worker

    def restart(self) -> None:
        """Has the worker stop, so that its supervisor starts it again."""
        worker_state.should_stop = EXIT_STUCK  # type: ignore[assignment]
        # Wakes the hub, whatever it waits for.
        self._worker.hub.call_soon(lambda: None)

    def end(self) -> None:
        """Ends the job process, then this process, at once."""
        if (pid := self.child_pid()) is not None:
            job_processes.kill(pid)
        os._exit(EXIT_STUCK)

    # --- the queues

    def consume(self, queues: Sequence[str]) -> None:
        """Has hints come from these queues; with none, no hint comes."""
        self._wanted = frozenset(queues)
        consumer = self._worker.consumer
        if consumer is None or consumer.task_consumer is None:
            _select_queues(self._wanted)
        else:
            # The hub runs such calls in any order: so each sets what is wanted by then.
            consumer.call_soon(self._set_queues)

    def _set_queues(self) -> None:
        consumer, wanted = self._worker.consumer, self._wanted
        unwanted = set(app.amqp.queues.consume_from) - wanted
        # The selection first: if the broker fails halfway, Celery makes its next consumer from that.
        _select_queues(wanted)
        for name in unwanted:
            consumer.cancel_task_queue(name)
        for name in wanted:
            consumer.add_task_queue(name)


def _select_queues(wanted: Iterable[str]) -> None:
    """What Celery's next consumer will read."""
    queues = app.amqp.queues
    for name in set(queues.consume_from).difference(wanted):
        queues.deselect([name])
    for name in wanted:
        queues.select_add(job_queue(name))
