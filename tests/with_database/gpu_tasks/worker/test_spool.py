"""What a worker could not tell the database is kept on disk, listed, and told later, if the fence allows it."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest
from django.db import OperationalError

from gpu_tasks.worker.spool import Ending, Spool
from gpu_tasks.worker.witness import Witness
from scheduler.jobs import lifecycle
from scheduler.jobs import submit as intake
from scheduler.jobs.lifecycle import Claimed
from scheduler.jobs.submit import JobRequest
from scheduler.models import Gpu, Job, JobEvent
from scheduler.rules.states import JobState, Priority, Reason, Source

pytestmark = pytest.mark.usefixtures("gpus")


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", Witness(tmp_path / "witness", 0, "boot-0"))


@pytest.fixture
def claimed(gpus: list[Gpu]) -> Claimed:
    request = JobRequest(
        type="sleep", priority=Priority.NORMAL, params={}, source=Source.API, gpu_memory_mib=0, load=1.0
    )
    (job,) = intake.submit([request])
    found = lifecycle.claim(job.id, 1, gpu=0, boot="boot-0")
    assert isinstance(found, Claimed)
    return found


def keep(spool: Spool, claimed: Claimed, state: JobState, reason: Reason | None = None) -> None:
    """As on a database that is away."""
    ending = Ending(job_id=claimed.job_id, attempt=claimed.attempt, state=state, reason=reason, error="why")
    with patch("gpu_tasks.worker.spool.commit", side_effect=OperationalError("away")):
        assert not spool.commit_or_keep(ending)


@pytest.mark.parametrize("reason", [Reason.SHUTDOWN, Reason.CLAIM_LOST])
def test_a_job_that_could_not_be_given_back_goes_back_later_without_a_charge(
    spool: Spool, claimed: Claimed, reason: Reason
) -> None:
    keep(spool, claimed, JobState.QUEUED, reason)
    assert spool.keys() == ((claimed.job_id, claimed.attempt),)

    assert spool.flush() == 1

    assert spool.keys() == ()
    job = Job.objects.get(id=claimed.job_id)
    assert (job.state, job.attempt, job.failures, job.reason) == (JobState.QUEUED, 2, 0, reason)
    assert not JobEvent.objects.filter(charged=True).exists()


@pytest.mark.parametrize(
    ("state", "reason"), [(JobState.SUCCEEDED, None), (JobState.QUEUED, Reason.CLAIM_LOST)], ids=["result", "return"]
)
def test_what_is_told_after_the_job_went_on_elsewhere_changes_nothing(
    spool: Spool, claimed: Claimed, state: JobState, reason: Reason | None
) -> None:
    keep(spool, claimed, state, reason)
    lifecycle.requeue(claimed.job_id, claimed.attempt, Reason.WORKER_DIED)
    before = Job.objects.values().get(id=claimed.job_id)

    assert spool.flush() == 1

    assert spool.keys() == ()
    assert Job.objects.values().get(id=claimed.job_id) == before


def test_what_is_kept_is_listed_in_the_order_of_jobs_without_the_database(spool: Spool) -> None:
    for job_id, attempt in ((12, 1), (7, 3)):
        spool.keep(Ending(job_id=job_id, attempt=attempt, state=JobState.SUCCEEDED, result={}))

    with patch("django.db.backends.utils.CursorWrapper.execute", side_effect=AssertionError):
        assert sorted(spool.keys()) == [(7, 3), (12, 1)]
