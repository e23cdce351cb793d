"""F9: a real worker takes the queues strictly by priority."""

from __future__ import annotations

import pytest

from scheduler.broker import hints
from scheduler.broker.hints import Hint
from scheduler.models import Job, JobEvent
from scheduler.rules.states import PRIORITY_ORDER, EventKind
from tests.build import queued
from tests.mutants.source import source_without
from tests.services import wait_until
from tests.with_database.gpu_worker import GpuWorker

pytestmark = [
    pytest.mark.parametrize("database_settings", ["sqlite"], indirect=True, scope="session"),
    pytest.mark.usefixtures("transactional_db"),
]

OF_EACH = 4


def started_in_order(worker: GpuWorker) -> list[Job]:
    """Jobs of all priorities, in turns, that waited when the worker came."""
    jobs = [queued(priority=priority) for priority in [*reversed(PRIORITY_ORDER)] * OF_EACH]
    hints.send([Hint(job_id=job.id, attempt=1, type=job.type, queue=job.priority) for job in jobs])
    with worker:
        started = JobEvent.objects.filter(kind=EventKind.STARTED).order_by("id")
        wait_until(lambda: started.count() == len(jobs), 30, worker.tail)
        return [event.job for event in started.select_related("job")]


def strictly(jobs: list[Job]) -> list[Job]:
    return sorted(jobs, key=lambda job: (PRIORITY_ORDER.index(job.priority), job.id))


def test_jobs_start_by_priority_and_then_as_they_came(redis, tmp_path):
    found = started_in_order(GpuWorker(redis, tmp_path))

    assert found == strictly(found)


def test_without_the_order_a_low_job_starts_before_a_critical_one(redis, tmp_path):
    found = started_in_order(GpuWorker(redis, tmp_path, source=source_without("round_robin")))

    order = [job.priority for job in found]
    assert order.index("low") < len(order) - 1 - order[::-1].index("critical"), order
