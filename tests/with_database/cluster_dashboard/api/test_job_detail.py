"""Why a job waits, as the API and the job's page tell it."""

from __future__ import annotations

import pytest

from cluster_dashboard.api.job_detail import read_job
from scheduler.loops.heartbeats import SILENCE_SECONDS, Beat, write_beat
from scheduler.models import Gpu
from tests.build import queued, running

pytestmark = pytest.mark.usefixtures("gpus")


@pytest.fixture
def redis(redis, monkeypatch):
    monkeypatch.setattr("cluster_dashboard.api.job_detail.client", lambda: redis)
    return redis


def beat_of(gpu: int, *, age_seconds: float, redis) -> None:
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
        note="",
        at=seconds - age_seconds,
    )
    write_beat(redis, beat)


def why(memory_mib: int) -> str:
    return read_job(queued(params={"memory_mib": memory_mib}).id).waits_because


def test_a_job_that_some_gpu_can_take_waits_for_no_reason_but_the_queue(redis):
    assert why(60_000) == ""


def test_a_job_that_fits_no_gpu_any_more_says_so(redis):
    Gpu.objects.update(memory_total_mib=40_960)

    assert why(60_000) == "it needs 60000 MiB of GPU memory; the largest GPU has 40960"


def test_a_job_whose_gpus_are_drained_quarantined_or_silent_says_so(redis):
    Gpu.objects.filter(index=0).update(drained=True)
    Gpu.objects.filter(index=1).update(quarantined="Xid 79")
    beat_of(2, age_seconds=1, redis=redis)
    assert why(60_000) == ""

    beat_of(2, age_seconds=SILENCE_SECONDS + 1, redis=redis)

    assert why(60_000) == "no GPU with 60000 MiB of memory takes jobs now (of that size: 0, 1, 2)"


def test_a_job_that_runs_waits_for_nothing(redis):
    job = running(gpu=0)
    Gpu.objects.update(drained=True)

    assert read_job(job.id).waits_because == ""
