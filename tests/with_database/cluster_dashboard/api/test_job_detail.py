"""Why a job waits, as the API and the job's page tell it."""

from __future__ import annotations

import pytest

from cluster_dashboard.api.job_detail import read_job
from scheduler.jobs import lifecycle
from scheduler.loops.heartbeats import SILENCE_SECONDS, Beat, write_beat
from scheduler.models import Gpu
from scheduler.rules.states import JobState, Reason
from tests.build import in_state, queued, reread, running, submit
from tests.with_database.cli import run

pytestmark = pytest.mark.usefixtures("gpus")


@pytest.fixture
def redis(redis, monkeypatch):
    monkeypatch.setattr("cluster_dashboard.api.job_detail.client", lambda: redis)
    return redis


def beat_of(gpu: int, *, age_seconds: float, redis, note: str = "") -> None:
    seconds, _ = redis.time()
    beat = Beat(
        gpu=gpu,
        boot=f"boot-{gpu}",
        seq=1,
        pid=1,
        child_pid=None,
        host="here",
        held=(),
        health="healthy",
        note=note,
        at=seconds - age_seconds,
    )
    write_beat(redis, beat)


def why(memory_mib: int) -> str:
    return read_job(queued(params={"memory_mib": memory_mib}).id).waits_because


def test_the_next_job_says_that_it_is_next(redis):
    assert why(60_000) == "next in line; a GPU takes it at any moment"


def test_the_next_job_says_that_every_gpu_is_busy(redis):
    for gpu in range(3):
        running(gpu=gpu)

    assert why(60_000) == "next in line; every GPU that it may run on is busy"


def test_a_job_says_how_many_start_before_it(redis):
    submit(3), submit(2, priority="critical"), submit(9, priority="low")
    requeued = running()
    lifecycle.requeue(requeued.id, 1, Reason.SHUTDOWN)
    job = queued()
    submit(4)

    assert read_job(job.id).waits_because == "behind 6 jobs of the same or a higher priority"
    assert read_job(requeued.id).waits_because == "behind 2 jobs of the same or a higher priority"


def test_the_jobs_ahead_are_counted_up_to_a_limit(redis, monkeypatch):
    monkeypatch.setattr("scheduler.jobs.why_waiting.AHEAD_MAXIMUM", 4)
    monkeypatch.setattr("scheduler.rules.waiting.AHEAD_MAXIMUM", 4)
    submit(3, priority="critical"), submit(3)

    assert why(0) == "behind more than 4 jobs of the same or a higher priority"


def test_a_job_that_backs_off_says_until_when(redis):
    job = running()
    lifecycle.requeue(job.id, 1, Reason.WORKER_DIED)

    because = read_job(job.id).waits_because

    assert because == f"it failed and backs off until {reread(job).not_before:%H:%M:%S} UTC"


def test_a_job_that_fits_no_gpu_any_more_says_so(redis):
    Gpu.objects.update(memory_total_mib=40_960)

    assert why(60_000) == "it needs 60000 MiB of GPU memory; the largest GPU has 40960"


def test_a_job_whose_gpus_are_drained_quarantined_or_silent_says_why_of_each(redis):
    Gpu.objects.filter(index=0).update(drained=True)
    Gpu.objects.filter(index=1).update(quarantined="Xid 79")
    beat_of(2, age_seconds=1, redis=redis)
    assert why(60_000) == "next in line; a GPU takes it at any moment"

    beat_of(2, age_seconds=SILENCE_SECONDS + 1, redis=redis)

    assert why(60_000) == (
        "no GPU with 60000 MiB of memory takes jobs now: GPU 0: drained by an operator; GPU 1: quarantined: Xid 79; "
        "GPU 2: its worker has sent no heartbeat"
    )


def test_a_job_says_what_the_workers_report(redis):
    Gpu.objects.exclude(index=0).update(drained=True)
    beat_of(0, age_seconds=0, note="90 °C is above the limit of 85 °C", redis=redis)

    assert "GPU 0: 90 °C is above the limit of 85 °C" in why(60_000)


@pytest.mark.parametrize("state", [JobState.RUNNING, JobState.SUCCEEDED, JobState.CANCELLED])
def test_a_job_that_is_not_queued_waits_for_nothing(redis, state):
    assert read_job(in_state(state).id).waits_because == ""


def test_the_admin_and_the_command_say_the_same(redis, admin_client, monkeypatch):
    monkeypatch.setattr("scheduler.admin.jobs._client", lambda: redis)
    job = queued()

    page = admin_client.get(f"/admin/scheduler/job/{job.id}/change/").content.decode()

    assert "next in line; a GPU takes it at any moment" in page
    assert "next in line; a GPU takes it at any moment" in " ".join(run("job", job.id).out.split())
