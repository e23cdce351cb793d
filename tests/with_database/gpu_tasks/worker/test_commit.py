"""Every ending of a job is committed, or kept on disk while the database is unavailable and committed later, if the
fence allows it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from django.db import IntegrityError, InterfaceError, OperationalError, connection

from gpu_tasks.worker.commit import Commit, Ending
from gpu_tasks.worker.spool import Spool
from gpu_tasks.worker.witness import Witness
from scheduler.jobs import lifecycle
from scheduler.models import Allocation, Gpu, Job, JobEvent
from scheduler.rules.states import JobState, Reason
from tests.build import running

pytestmark = pytest.mark.usefixtures("gpus")


@pytest.fixture
def commit(tmp_path: Path) -> Commit:
    witness = Witness(tmp_path / "witness", 0, "boot-0")
    return Commit(gpu=0, boot="boot-0", spool=Spool(tmp_path / "spool"), witness=witness)


@pytest.fixture
def job() -> Job:
    """Runs on GPU 0."""
    return running(gpu=0)


def seen(tmp_path: Path) -> list[str]:
    return [json.loads(line)["saw"] for line in (tmp_path / "witness" / "gpu-0.jsonl").read_text().splitlines()]


def ending(job: Job, state: JobState = JobState.SUCCEEDED, reason: Reason | None = None) -> Ending:
    return Ending(job_id=job.id, attempt=job.attempt, state=state, reason=reason, error="why")


def keep(commit: Commit, what: Ending) -> None:
    """As while the database is unavailable."""
    with (
        patch("scheduler.jobs.lifecycle.end", side_effect=OperationalError("unavailable")),
        patch("scheduler.jobs.lifecycle.requeue", side_effect=OperationalError("unavailable")),
    ):
        assert not commit.commit_or_keep(what)
    assert commit.spool.keys() == (what.key,)


def test_a_result_is_committed_and_witnessed(commit: Commit, job: Job, tmp_path: Path) -> None:
    assert commit.commit_or_keep(ending(job))

    assert Job.objects.get(id=job.id).state == JobState.SUCCEEDED
    assert seen(tmp_path) == ["ended"]
    assert commit.spool.keys() == ()


def test_a_result_of_an_older_attempt_is_refused_and_witnessed(
    commit: Commit, job: Job, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lifecycle.requeue(job.id, job.attempt, Reason.WORKER_DIED)

    assert not commit.commit_or_keep(ending(job))

    assert Job.objects.get(id=job.id).state == JobState.QUEUED
    assert seen(tmp_path) == ["refused"]
    assert [record.message for record in caplog.records] == ["commit_refused"]


@pytest.mark.parametrize(
    ("reason", "level"), [(Reason.CHILD_DIED, "WARNING"), (Reason.SHUTDOWN, "INFO")], ids=["charged", "not charged"]
)
def test_a_requeue_is_logged_with_its_reason(
    commit: Commit, job: Job, caplog: pytest.LogCaptureFixture, reason: Reason, level: str
) -> None:
    caplog.set_level("INFO")

    assert commit.requeue(job.id, job.attempt, reason, "why")

    (record,) = caplog.records
    assert (record.message, record.levelname, record.reason) == ("job_requeued", level, reason)
    assert (record.job, record.attempt, record.gpu) == (job.id, 1, 0)
    assert Job.objects.get(id=job.id).state == JobState.QUEUED


def test_a_requeue_of_a_cancelled_job_is_logged_as_its_end(
    commit: Commit, job: Job, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    lifecycle.cancel(job.id, actor="somebody")

    assert commit.requeue(job.id, job.attempt, Reason.CANCEL, "why")

    assert [record.message for record in caplog.records] == ["job_cancelled"]


@pytest.mark.parametrize("reason", [Reason.SHUTDOWN, Reason.CLAIM_LOST])
def test_a_kept_requeue_happens_later_without_a_charge(commit: Commit, job: Job, reason: Reason) -> None:
    keep(commit, ending(job, JobState.QUEUED, reason))

    commit.commit_kept()

    assert commit.spool.keys() == ()
    job = Job.objects.get(id=job.id)
    assert (job.state, job.attempt, job.failures, job.reason) == (JobState.QUEUED, 2, 0, reason)
    assert not JobEvent.objects.filter(charged=True).exists()


def test_a_kept_result_is_witnessed_when_it_is_kept_and_when_it_is_committed(
    commit: Commit, job: Job, tmp_path: Path
) -> None:
    keep(commit, ending(job))
    assert seen(tmp_path) == ["kept"]

    commit.commit_kept()

    assert seen(tmp_path) == ["kept", "ended"]
    assert Job.objects.get(id=job.id).state == JobState.SUCCEEDED


@pytest.mark.parametrize(
    ("state", "reason"), [(JobState.SUCCEEDED, None), (JobState.QUEUED, Reason.CLAIM_LOST)], ids=["result", "requeue"]
)
def test_what_was_kept_changes_nothing_after_the_job_went_on_elsewhere(
    commit: Commit, job: Job, state: JobState, reason: Reason | None
) -> None:
    keep(commit, ending(job, state, reason))
    lifecycle.requeue(job.id, job.attempt, Reason.WORKER_DIED)
    before = Job.objects.values().get(id=job.id)

    commit.commit_kept()

    assert commit.spool.keys() == ()
    assert Job.objects.values().get(id=job.id) == before


def test_what_is_kept_stays_while_the_database_is_unavailable(commit: Commit, job: Job) -> None:
    keep(commit, ending(job))

    with (
        patch("scheduler.jobs.lifecycle.end", side_effect=OperationalError("unavailable")),
        pytest.raises(OperationalError),
    ):
        commit.commit_kept()

    assert commit.spool.keys() == ((job.id, 1),)


def test_a_full_disk_holds_the_job_until_the_database_answers(
    commit: Commit, job: Job, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("gpu_tasks.worker.commit.time.sleep", waits.append)
    answers = [OperationalError("unavailable")] * 2
    commit_for_real = lifecycle.end

    def end(*args: object, **kwargs: object) -> bool:
        if answers:
            raise answers.pop()
        return commit_for_real(*args, **kwargs)

    with (
        patch("scheduler.jobs.lifecycle.end", side_effect=end),
        patch.object(Spool, "keep", side_effect=OSError("no space left on device")),
    ):
        assert commit.commit_or_keep(ending(job))

    assert len(waits) == 2
    assert [record.message for record in caplog.records] == ["result_waits_for_disk"]


def test_jobs_that_an_older_boot_left_are_requeued(tmp_path: Path, job: Job, caplog: pytest.LogCaptureFixture) -> None:
    witness = Witness(tmp_path / "witness", 0, "boot-1")
    commit = Commit(gpu=0, boot="boot-1", spool=Spool(tmp_path / "spool"), witness=witness)

    assert commit.requeue_left_by_older_boots() == [job.id]

    assert Job.objects.get(id=job.id).state == JobState.QUEUED
    assert not Allocation.objects.exists()
    assert [(record.message, record.reason) for record in caplog.records] == [("job_requeued", "worker_restarted")]


# --- what can never be committed


def shelve(commit: Commit, job: Job, **changes: Any) -> None:
    values = {"job_id": job.id, "attempt": 1, "state": "succeeded", "reason": None, "error": "", "result": None}
    commit.spool.keep((job.id, 1), {**values, **changes})


def test_a_kept_result_that_can_never_be_stored_ends_its_job_and_blocks_nothing(commit: Commit) -> None:
    first, second = running(gpu=0), running(gpu=1)
    shelve(commit, first, result={"x": float("nan")} if connection.vendor == "sqlite" else {"x": "a\0b"})
    shelve(commit, second)

    commit.commit_kept()

    first, second = (Job.objects.get(id=job.id) for job in (first, second))
    assert (first.state, first.reason) == (JobState.FAILED, Reason.RESULT_INVALID)
    assert second.state == JobState.SUCCEEDED
    assert commit.spool.keys() == ()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"job_id": 1, "attem',
        b"\0" * 100,
        b"\xff",
        b"[]",
        b"[" * 100_000,
        b'{"state": "running", "reason": null, "job_id": 1, "attempt": 1}',
        b'{"state": "queued", "reason": null, "job_id": 1, "attempt": 1}',
        b'{"state": "succeeded", "reason": null, "job_id": 999, "attempt": 1}',
        b'{"state": "asleep", "reason": null, "job_id": 1, "attempt": 1}',
        b'{"state": "succeeded", "reason": null, "job_id": 1, "attempt": 1, "new": 1}',
    ],
)
def test_a_kept_file_that_is_torn_is_set_aside_and_blocks_nothing(
    commit: Commit, tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    torn, whole = running(gpu=0), running(gpu=1)
    shelve(commit, torn)
    shelve(commit, whole)
    path = tmp_path / "spool" / f"{torn.id}-1.json"
    path.write_bytes(content.replace(b'"job_id": 1,', b'"job_id": %d,' % torn.id))

    commit.commit_kept()

    assert commit.spool.keys() == ()
    assert path.with_suffix(".set-aside").exists()
    assert Job.objects.get(id=whole.id).state == JobState.SUCCEEDED
    (record,) = [record for record in caplog.records if record.message == "kept_result_set_aside"]
    assert (record.job, record.attempt, record.gpu) == (torn.id, 1, 0)


def test_files_with_odd_names_block_nothing(commit: Commit, tmp_path: Path) -> None:
    job = running()
    for name in ("012-1.json", "x.json", "-1-1.json", "1-1.json.part", "٣-1.json", f"{'9' * 40}-1.json"):
        (tmp_path / "spool" / name).write_text("{}")
    (tmp_path / "spool" / "5-1.json").mkdir()
    shelve(commit, job)

    commit.commit_kept()

    assert commit.spool.keys() == ()
    assert Job.objects.get(id=job.id).state == JobState.SUCCEEDED


def test_the_job_of_a_torn_file_is_requeued_by_the_next_boot(commit: Commit, tmp_path: Path, job: Job) -> None:
    shelve(commit, job)
    (tmp_path / "spool" / f"{job.id}-1.json").write_text('{"job')
    next_boot = Commit(gpu=0, boot="boot-1", spool=commit.spool, witness=commit.witness)

    next_boot.commit_kept()

    assert next_boot.requeue_left_by_older_boots() == [job.id]
    assert Job.objects.get(id=job.id).state == JobState.QUEUED


def test_an_ending_that_the_database_refuses_in_every_form_is_set_aside(commit: Commit, job: Job) -> None:
    refuses = patch("scheduler.jobs.lifecycle.end", side_effect=IntegrityError("never"))
    with refuses:
        assert not commit.commit_or_keep(ending(job))
    assert commit.spool.keys() == ((job.id, 1),)

    with refuses:
        commit.commit_kept()

    assert commit.spool.keys() == ()


@pytest.mark.parametrize("error", [OperationalError("unavailable"), InterfaceError("closed")], ids=repr)
def test_what_is_kept_stays_kept_while_the_database_is_unavailable(commit: Commit, job: Job, error: Exception) -> None:
    keep(commit, ending(job))

    with patch("scheduler.jobs.lifecycle.end", side_effect=error), pytest.raises(type(error)):
        commit.commit_kept()

    assert commit.spool.keys() == ((job.id, 1),)


def test_a_fault_of_the_gpu_takes_it_out_of_service_also_after_an_outage(commit: Commit, job: Job) -> None:
    keep(commit, ending(job, JobState.QUEUED, Reason.GPU_FAULT))

    commit.commit_kept()

    assert Gpu.objects.get(index=0).quarantined == "GPU fault: why"
    assert (Job.objects.get(id=job.id).state, Job.objects.get(id=job.id).reason) == ("queued", "gpu_fault")


def test_a_gpu_whose_job_has_moved_on_is_out_of_service_all_the_same(commit: Commit, job: Job) -> None:
    lifecycle.requeue(job.id, 1, Reason.OPERATOR)

    assert not commit.commit_or_keep(ending(job, JobState.QUEUED, Reason.GPU_FAULT))

    assert Gpu.objects.get(index=0).quarantined == "GPU fault: why"
