"""Jobs that run code of a test in a real worker's job process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent

from django.test import override_settings
from redis import Redis

from scheduler.broker import hints
from scheduler.broker.hints import Hint
from scheduler.catalogue import catalogue
from scheduler.models import Job
from tests.build import queued
from tests.project import ROOT
from tests.with_database.gpu_worker import GpuWorker, wait_for_end

FOLDER = ROOT / "tests" / "with_database" / "job_scripts"
TYPES = ["script:Script"]


class ScriptWorker:
    """Runs scripts one after the other."""

    def __init__(self, worker: GpuWorker) -> None:
        self.worker = worker

    def run(self, code: str, *, seconds: float = 30, **fields: object) -> Job:
        """Returns the job's row when it has ended."""
        return wait_for_end(self.start(code, **fields), seconds, self.worker.tail)

    def start(self, code: str, **fields: object) -> Job:
        job = queued(type="script", params={"code": dedent(code)}, **fields)
        hints.send([Hint(job_id=job.id, attempt=1, type=job.type, queue="normal")])
        return job


@contextmanager
def script_worker(redis: Redis, folder: Path) -> Iterator[ScriptWorker]:
    environment = {"PYTHONPATH": str(FOLDER), "JOB_TYPES_EXTRA": ",".join(TYPES)}
    with scripts_are_known(), GpuWorker(redis, folder, environment=environment) as worker:
        yield ScriptWorker(worker)


@contextmanager
def scripts_are_known() -> Iterator[None]:
    """To this process, which submits them."""
    catalogue.cache_clear()
    sys.path.append(str(FOLDER))
    try:
        with override_settings(JOB_TYPES_EXTRA=TYPES):
            catalogue()
            yield
    finally:
        sys.path.remove(str(FOLDER))
        catalogue.cache_clear()
