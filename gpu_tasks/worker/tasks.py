"""One Celery task for each job type, so that Flower shows them by type. All the work is the runner's."""

from __future__ import annotations

from typing import Any, ClassVar

from celery.exceptions import Reject
from celery.worker.request import Request

from gpu_tasks.worker.runner import Runner
from gpu_tasks.worker.valve import Valve
from scheduler.broker.hints import task_name
from scheduler.catalogue import catalogue
from scheduler.celery import app
from scheduler.job_type import JobFailed


class HintRequest(Request):
    """A hint in the worker's main process. One that the job process could not follow is returned to the front of its
    queue: the valve is shut first, or it would be taken here again at once."""

    #: Set before the first hint is taken. Called in the hub's thread, which reads no queue meanwhile.
    valve: ClassVar[Valve | None] = None

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        error: Any = exc_info.exception
        error = getattr(error, "exc", error)  # as billiard wraps it
        if isinstance(error, Reject) and self.valve is not None:
            job_id, attempt = self.id.split("-")
            self.valve.hint_returned(int(job_id), int(attempt), str(error.args[0]))
        return super().on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)


def register(runner: Runner) -> None:
    """Call it before the worker starts: the job process inherits the tasks and the runner."""
    for name in catalogue():
        app.task(name=task_name(name), throws=(JobFailed,), Request=HintRequest)(runner.run)
