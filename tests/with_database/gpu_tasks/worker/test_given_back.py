"""A GPU whose process gave a hint back: it reads no queue until somebody else can have taken it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count

import pytest
from django.db.models import F

from gpu_tasks.processes.job_processes import Record, children_of
from gpu_tasks.worker.heartbeat import Standing
from gpu_tasks.worker.held import Held
from gpu_tasks.worker.spool import Spool
from gpu_tasks.worker.warden import ELIGIBILITY_SECONDS, Warden
from gpu_tasks.worker.witness import Witness
from scheduler.jobs import lifecycle
from scheduler.jobs.lifecycle import Refusal
from scheduler.models import Gpu, Job
from scheduler.rules.queues import PLAIN_QUEUES
from scheduler.rules.states import Reason
from tests.build import running
from tests.unit.builders import a_sample

pytestmark = pytest.mark.usefixtures("gpus")


@dataclass
class FakePool:
    """A worker without processes."""

    reading: list[tuple[str, ...]] = field(default_factory=list)

    def child_pid(self):
        return None

    def child_pids(self):
        # All are spared: the databases of the tests are children of this process too.
        return children_of(os.getpid())

    def respawn(self):
        raise AssertionError("there is no child")

    def replace(self, pid):
        raise AssertionError("there is no child")

    def consume(self, queues):
        self.reading.append(tuple(queues))


@pytest.fixture
def pool():
    return FakePool()


@pytest.fixture
def warden(pool, tmp_path):
    witness = Witness(tmp_path / "witness", 0, "boot-0")
    return Warden(
        gpu=0,
        boot="boot-0",
        held=Held(),
        spool=Spool(tmp_path / "spool", witness),
        standing=Standing(),
        pool=pool,
        record=Record(tmp_path / "processes"),
        sample=a_sample,
        heard_at=lambda: 0.0,
    )


@pytest.fixture
def now(monkeypatch):
    """Each call is a quarter of a second later, far from the last look."""
    ticks = count(1000.0, 0.25)
    seconds = [0.0]

    def tick(later: float = 0.0) -> float:
        seconds[0] = next(ticks) + later
        return seconds[0]

    monkeypatch.setattr("gpu_tasks.worker.warden.time.monotonic", lambda: seconds[0])
    return tick


def failed_here():
    """A job that failed on GPU 0, whose back-off has passed."""
    job = running(gpu=0)
    lifecycle.requeue(job.id, 1, Reason.CHILD_DIED)
    moved = timedelta(seconds=1.5)
    Job.objects.update(not_before=F("not_before") - moved, elsewhere_until=F("elsewhere_until") - moved)
    assert lifecycle.claim(job.id, 2, gpu=0, boot="boot-0") is Refusal.ELSEWHERE
    return job


def test_the_valve_is_shut_at_once_and_the_reason_is_said(warden, pool, now):
    warden.tick(now())

    warden.given_back(7, 1, Refusal.GPU_BUSY)

    assert pool.reading == [PLAIN_QUEUES, ()]
    assert warden.standing.note == "another job still holds it"


def test_it_opens_again_at_the_next_look(warden, pool, now):
    warden.tick(now())
    warden.given_back(7, 1, Refusal.GPU_BUSY)

    warden.tick(now())
    assert pool.reading[-1] == ()

    warden.tick(now(later=ELIGIBILITY_SECONDS))
    assert pool.reading[-1] == PLAIN_QUEUES
    assert warden.standing.note == ""


def test_a_job_that_failed_here_is_left_to_others_until_its_time_has_passed(warden, pool, now):
    job = failed_here()
    warden.tick(now())
    warden.given_back(job.id, 2, Refusal.ELSEWHERE)

    warden.tick(now(later=ELIGIBILITY_SECONDS))
    assert pool.reading[-1] == ()

    Job.objects.update(elsewhere_until=F("not_before"))
    warden.tick(now())
    assert pool.reading[-1] == PLAIN_QUEUES


def test_a_job_that_failed_here_and_was_taken_elsewhere_holds_nobody_up(warden, pool, now):
    job = failed_here()
    warden.tick(now())
    warden.given_back(job.id, 2, Refusal.ELSEWHERE)

    lifecycle.claim(job.id, 2, gpu=1, boot="boot-1")
    warden.tick(now())

    assert pool.reading[-1] == PLAIN_QUEUES


def test_another_gpu_counts_only_if_the_job_fits_it():
    Gpu.objects.exclude(index=0).update(memory_total_mib=1024)
    job = running(gpu=0)
    lifecycle.requeue(job.id, 1, Reason.CHILD_DIED)
    Job.objects.update(not_before=F("queued_at"))

    assert isinstance(lifecycle.claim(job.id, 2, gpu=0, boot="boot-0"), lifecycle.Claimed)


def test_a_gpu_follows_when_the_tiers_change(warden, pool, now):
    warden.tick(now())

    Gpu.objects.filter(index=2).update(memory_total_mib=40_960)
    warden.tick(now(later=ELIGIBILITY_SECONDS))

    assert pool.reading[-1][:2] == ("critical.80g", "critical")
