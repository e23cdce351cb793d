"""One Celery task for each job type, so that Flower shows them by type. All the work is the runner's."""

from __future__ import annotations

from gpu_tasks.runner import Runner
from scheduler.catalogue import catalogue
from scheduler.celery import app
from scheduler.hints import task_name
from scheduler.job_type import JobFailed


def register(runner: Runner) -> None:
    """Call it before the worker starts: its child inherits the tasks and the runner."""
    for name in catalogue():
        app.task(name=task_name(name), throws=(JobFailed,))(runner.run)
