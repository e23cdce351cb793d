"""The reaper, on both databases and a real Valkey. Its clock is the test's."""

from __future__ import annotations

from unittest.mock import patch

import pytest
from django.db import IntegrityError
from redis.exceptions import OutOfMemoryError

from scheduler.jobs import lifecycle
from scheduler.loops.heartbeats import BEAT_SECONDS, SILENCE_SECONDS, Beat, write_beat
from scheduler.loops.reaper import Reaper
from scheduler.models import ClusterEvent
from scheduler.rules.states import JobState
from tests.build import reread, running

pytestmark = pytest.mark.usefixtures("gpus")


@pytest.fixture
def reaper(redis):
    return Reaper(redis)


class Worker:
    """A worker as Redis sees it."""

    def __init__(self, redis, gpu=0, boot="boot-0"):
        self.redis, self.gpu, self.boot, self.seq = redis, gpu, boot, 0

    def beat(self, *held):
        self.seq += 1
        beat = Beat(
            gpu=self.gpu,
            boot=self.boot,
            seq=self.seq,
            pid=1,
            child_pid=2,
            host="here",
            held=tuple((job.id, job.attempt) for job in held),
            health="healthy",
            note="",
            at=0.0,
        )
        write_beat(self.redis, beat)


def scan(reaper, start, seconds, each=lambda now: None):
    """Ticks twice a second; gives the time of the first finding, or None."""
    now = start
    while now < start + seconds:
        each(now)
        if reaper.tick(now):
            return now - start
        now += 0.5
    return None


def test_a_silent_worker_is_known_dead_within_ten_seconds(reaper, redis):
    job = running()
    Worker(redis).beat(job)

    found_after = scan(reaper, 100.0, 12)

    assert found_after is not None
    assert SILENCE_SECONDS <= found_after <= 10
    job = reread(job)
    assert (job.state, job.attempt, job.reason) == ("queued", 2, "worker_died")
    assert ClusterEvent.objects.get().kind == "worker_died"


def test_a_worker_that_beats_is_left_alone(reaper, redis):
    job, worker = running(), Worker(redis)

    assert scan(reaper, 0.0, 60, lambda now: worker.beat(job) if now % BEAT_SECONDS == 0 else None) is None
    assert reread(job).state == "running"


def test_a_worker_that_never_beat_gets_one_term(reaper, redis):
    job = running()

    found_after = scan(reaper, 0.0, 12)

    assert SILENCE_SECONDS <= found_after <= 10
    assert reread(job).state == "queued"


def test_after_a_gap_in_its_own_reads_everybody_gets_a_fresh_term(reaper, redis):
    job, worker = running(), Worker(redis)
    worker.beat(job)
    assert scan(reaper, 0.0, 8) is None

    # The reaper could not read for 30 s (broker frozen), then finds the same old beat.
    assert reaper.tick(38.0) == 0
    assert scan(reaper, 38.5, 8) is None

    worker.beat(job)
    assert scan(reaper, 46.5, 8) is None
    assert reread(job).state == "running"


def test_a_full_broker_makes_no_worker_look_dead(reaper, redis):
    """It answers reads, and refuses every heartbeat."""
    job, worker = running(), Worker(redis)
    worker.beat(job)
    assert scan(reaper, 0.0, 2) is None
    before = redis.config_get("maxmemory")["maxmemory"]
    redis.config_set("maxmemory", 1)
    try:
        for half_seconds in range(4, 60):
            with pytest.raises(OutOfMemoryError):
                worker.beat(job)
            with pytest.raises(OutOfMemoryError):
                reaper.tick(half_seconds / 2)
    finally:
        redis.config_set("maxmemory", before)

    # It is heard again within its fresh term.
    assert scan(reaper, 30.0, SILENCE_SECONDS - 1) is None
    worker.beat(job)
    assert scan(reaper, 30.0 + SILENCE_SECONDS - 1, SILENCE_SECONDS - 1) is None
    assert reread(job).state == JobState.RUNNING


def test_a_job_that_two_beats_do_not_list_has_lost_its_child(reaper, redis):
    job, worker = running(), Worker(redis)
    worker.beat(job)
    reaper.tick(0.0)

    worker.beat()
    assert reaper.tick(2.0) == 0
    worker.beat()
    assert reaper.tick(4.0) == 1

    assert reread(job).reason == "child_died"


def test_a_beat_composed_before_the_claim_proves_nothing(reaper, redis):
    worker = Worker(redis)
    worker.beat()
    job = running()

    assert scan(reaper, 0.0, 6) is None
    worker.beat()
    assert reaper.tick(6.5) == 0
    worker.beat(job)
    assert reaper.tick(8.5) == 0
    assert reread(job).state == "running"


def test_a_job_of_an_older_boot_is_requeued(reaper, redis):
    job = running(boot="older")
    worker = Worker(redis, boot="newer")
    worker.beat()
    reaper.tick(0.0)
    worker.beat()
    reaper.tick(2.0)
    worker.beat()

    assert reaper.tick(4.0) == 1
    assert reread(job).reason == "worker_restarted"


def test_a_job_that_ended_meanwhile_is_not_touched(reaper, redis):
    job = running()
    scan(reaper, 0.0, 8)
    lifecycle.end(job.id, 1, JobState.SUCCEEDED)

    assert scan(reaper, 8.0, 8) is None
    assert reread(job).state == "succeeded"


def test_a_job_that_can_never_be_requeued_does_not_keep_the_others(reaper, redis, caplog):
    stuck, other = running(gpu=0, boot="boot-0"), running(gpu=1, boot="boot-1")
    requeue = lifecycle.requeue

    def refuse(job_id, *args, **kwargs):
        if job_id == stuck.id:
            raise IntegrityError("never")
        return requeue(job_id, *args, **kwargs)

    with patch("scheduler.jobs.lifecycle.requeue", refuse):
        scan(reaper, 0.0, SILENCE_SECONDS + 3)
        scan(reaper, SILENCE_SECONDS + 3, 3)

    assert reread(other).state == JobState.QUEUED
    assert [record.message for record in caplog.records].count("job_not_requeued") == 1
