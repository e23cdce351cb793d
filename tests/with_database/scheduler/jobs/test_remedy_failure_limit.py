"""F5: a job that costs its worker each time ends after its limit; the others are unhurt."""

from __future__ import annotations

import time

import pytest

from scheduler.jobs import lifecycle
from scheduler.jobs.lifecycle import Claimed
from scheduler.loops.relay import Relay
from scheduler.models import JobEvent
from scheduler.rules.states import EventKind, JobState, Reason
from tests.build import make_due, queued, reread, submit
from tests.mutants.source import source_without
from tests.project import ROOT
from tests.services import wait_until
from tests.with_database.gpu_worker import GpuWorker

pytestmark = pytest.mark.usefixtures("gpus")

#: More often than any limit here.
DEATHS = 12


def starts(job) -> int:
    return JobEvent.objects.filter(job=job, kind=EventKind.STARTED).count()


def kill_each_worker(poison, others) -> None:
    """Whichever GPU starts the poison job dies of it; in between the others run."""
    waiting = iter(others)
    for death in range(DEATHS):
        job, gpu = reread(poison), death % 3
        if isinstance(lifecycle.claim(job.id, job.attempt, gpu=gpu, boot=f"boot-{gpu}"), Claimed):
            lifecycle.requeue(job.id, job.attempt, Reason.WORKER_DIED)
            make_due(job)
        if (other := next(waiting, None)) is not None:
            lifecycle.claim(other.id, 1, gpu=gpu, boot=f"boot-{gpu}")
            lifecycle.end(other.id, 1, JobState.SUCCEEDED)


@pytest.mark.parametrize("max_failures", [1, 3])
def test_a_poison_job_starts_exactly_as_often_as_its_limit_says(max_failures):
    poison, others = queued(max_failures=max_failures), submit(DEATHS)

    kill_each_worker(poison, others)

    assert starts(poison) == max_failures
    assert (reread(poison).state, reread(poison).reason) == ("failed", "exhausted")
    assert {(reread(job).state, reread(job).failures, starts(job)) for job in others} == {("succeeded", 0, 1)}


@pytest.mark.mutant("no_exhaustion")
def test_without_the_limit_it_kills_on_and_on():
    poison = queued(max_failures=3)

    kill_each_worker(poison, [])

    assert starts(poison) == DEATHS
    assert reread(poison).state == "queued"


# --- the same with a real worker, whose process the job kills


@pytest.mark.parametrize("database_settings", ["sqlite"], indirect=True, scope="session")
@pytest.mark.parametrize("remedy", ["on", "off"])
def test_a_job_that_kills_its_process_ends_at_its_limit_and_without_it_does_not(redis, tmp_path, remedy):
    poison = queued(type="fault_injection", params={"mode": "kill", "after_seconds": 0}, max_failures=2)
    others = submit(5)
    relay = Relay(redis)

    def happens(what) -> bool:
        relay.tick(time.monotonic())
        return bool(what())

    source = ROOT if remedy == "on" else source_without("no_exhaustion")
    with GpuWorker(redis, tmp_path, source=source) as worker:
        if remedy == "on":
            wait_until(lambda: happens(lambda: reread(poison).state == "failed"), 30, worker.tail)
        else:
            wait_until(lambda: happens(lambda: starts(poison) > 2), 30, worker.tail)
        wait_until(lambda: all(reread(job).state == "succeeded" for job in others), 10, worker.tail)

    if remedy == "on":
        assert (starts(poison), reread(poison).reason) == (2, "exhausted")
    assert {(reread(job).failures, starts(job)) for job in others} == {(0, 1)}
