"""After retention the verdict starts from the checkpoint: what was removed is accounted for, not missing."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from gpu_tasks.worker.witness import Saw, Witness
from scheduler.jobs import lifecycle
from scheduler.jobs.clock import database_now
from scheduler.jobs.lifecycle import Claimed
from scheduler.loops.retention import History
from scheduler.models import Checkpoint, Job, JobEvent
from scheduler.rules.states import JobState
from scheduler.verdict.findings import VerdictOutcome
from scheduler.verdict.judge import judge
from tests.build import queued

pytestmark = pytest.mark.usefixtures("control", "gpus")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a worker saw of two jobs, of which retention has removed the older one."""
    witness = Witness(tmp_path, 0, "boot-0")
    old, young = witnessed(witness), witnessed(witness)
    Job.objects.filter(id=old.id).update(finished_at=database_now() - timedelta(days=31))
    assert History(retention=timedelta(days=30)).tick() == 1
    assert Job.objects.get() == young
    return tmp_path


def witnessed(witness: Witness) -> Job:
    job = queued()
    witness.saw(Saw.CLAIMING, job.id, 1)
    assert isinstance(lifecycle.claim(job.id, 1, gpu=0, boot="boot-0"), Claimed)
    witness.saw(Saw.STARTED, job.id, 1)
    assert lifecycle.end(job.id, 1, JobState.SUCCEEDED)
    witness.saw(Saw.ENDED, job.id, 1)
    return job


@pytest.fixture(autouse=True)
def news_has_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scheduler.verdict.judge.CLOCK_SKEW_SECONDS", -60.0)


def test_what_retention_removed_is_not_missed(folder):
    verdict = judge(folder)

    assert verdict.outcome is VerdictOutcome.HOLDS, verdict.as_dict()
    assert verdict.jobs == 1


def test_a_job_removed_by_another_hand_is_missed(folder):
    JobEvent.objects.all().delete()
    Job.objects.all().delete()

    assert "counts_add_up" in judge(folder).broken


def test_a_checkpoint_that_was_touched_does_not_add_up(folder):
    Checkpoint.objects.update(succeeded=2)

    assert "counts_add_up" in judge(folder).broken
