"""F2: a message that is delivered again does not start its job again."""

from __future__ import annotations

import pytest

from scheduler.broker import hints
from scheduler.broker.hints import Hint, queue_key
from scheduler.jobs import lifecycle
from scheduler.jobs.lifecycle import Claimed
from scheduler.models import JobEvent
from scheduler.rules.placement import ClaimRefusal
from scheduler.rules.states import EventKind
from tests.build import queued, running, story, submit
from tests.mutants.source import source_without
from tests.project import ROOT
from tests.services import wait_until
from tests.with_database.gpu_worker import GpuWorker

pytestmark = pytest.mark.usefixtures("gpus")

JOBS, DELIVERIES = 5, 3


def test_a_running_job_is_not_started_on_another_gpu():
    job = running(gpu=0)

    assert lifecycle.claim(job.id, 1, gpu=1, boot="boot-1") is ClaimRefusal.STALE
    assert story(job) == [(1, "submitted", 1), (2, "started", 1)]


@pytest.mark.mutant("double_claim")
def test_without_the_check_it_runs_on_two():
    job = running(gpu=0)

    assert isinstance(lifecycle.claim(job.id, 1, gpu=1, boot="boot-1"), Claimed)
    assert story(job) == [(1, "submitted", 1), (2, "started", 1), (3, "started", 1)]


def starts(worker: GpuWorker, redis) -> list[int]:
    """Of each job, when all its hints have been followed by a healthy worker."""
    jobs = submit(JOBS)
    hints.send([Hint(job_id=job.id, attempt=1, type=job.type, queue="normal") for job in jobs * DELIVERIES])
    last = queued(priority="low")
    hints.send([Hint(job_id=last.id, attempt=1, type=last.type, queue="low")])
    ended = JobEvent.objects.filter(job=last, kind=EventKind.SUCCEEDED)
    wait_until(ended.exists, 20, worker.tail)
    assert redis.llen(queue_key("normal")) == 0
    return [JobEvent.objects.filter(job=job, kind=EventKind.STARTED).count() for job in jobs]


@pytest.mark.parametrize("database_settings", ["sqlite"], indirect=True, scope="session")
@pytest.mark.parametrize(("remedy", "expected"), [("on", 1), ("off", DELIVERIES)])
def test_a_healthy_worker_runs_a_job_once_and_without_the_check_at_each_delivery(redis, tmp_path, remedy, expected):
    source = ROOT if remedy == "on" else source_without("double_claim")
    with GpuWorker(redis, tmp_path, source=source) as worker:
        found = starts(worker, redis)

    assert found == [expected] * JOBS
