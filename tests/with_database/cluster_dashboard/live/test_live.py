"""What the live view reads and shows, on both databases and a real Valkey."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.db.models import F

from cluster_dashboard.live.reader import Reader
from cluster_dashboard.live.window import SPANS_MAXIMUM
from scheduler.jobs import lifecycle
from scheduler.loops.heartbeats import Beat, write_beat
from scheduler.loops.samples import samples_key
from scheduler.models import ClusterEvent, Gpu, Job, JobEvent
from scheduler.rules.states import JobState, Reason
from tests.build import ended, queued, running, submit

pytestmark = pytest.mark.usefixtures("gpus", "control")


@pytest.fixture
def reader(redis):
    return Reader(redis)


def beat_and_sample(redis, gpu=0, held=None, **values):
    seconds, micros = redis.time()
    now = seconds + micros / 1e6
    beat = Beat(
        gpu=gpu,
        boot=f"boot-{gpu}",
        seq=1,
        pid=1,
        child_pid=2,
        host="here",
        held=(),
        health="healthy",
        note=values.pop("note", ""),
        at=now - values.pop("age", 0.0),
    )
    write_beat(redis, beat)
    sample = {
        "health": "healthy",
        "utilization_percent": 90.0,
        "memory_used_mib": 1000,
        "memory_total_mib": 81559,
        "temperature_c": 60.0,
        "power_w": 500.0,
        "sm_clock_mhz": 1755.0,
        "last_xid": 31,
        "at": now,
        "held": held,
        "progress": 0.5 if held else None,
        **values,
    }
    redis.hset(samples_key(), str(gpu), json.dumps(sample))


def snapshot(reader):
    return json.loads(reader.snapshot())


def test_a_snapshot_has_every_field_that_is_promised(reader):
    shown = snapshot(reader)

    assert (shown["type"], shown["version"], shown["seq"]) == ("snapshot", 3, 1)
    assert set(shown["queues"]) == {"critical", "high", "normal", "low"}
    assert set(shown["queues"]["low"]) == {"waiting", "oldest_s", "in_redis"}
    assert set(shown["counts"]) == {"submitted", "queued", "running", "succeeded", "failed", "cancelled"}
    assert shown["control"] == {"rate_per_minute": 12, "preset": "normal", "paused": False}
    assert {
        "index",
        "state",
        "worker",
        "job",
        "utilization_percent",
        "memory_used_mib",
        "memory_total_mib",
        "temperature_c",
        "power_w",
        "heartbeat_age_s",
    } <= set(shown["gpus"][0])
    assert {"recent", "events", "at"} <= set(shown)


def test_counts_and_queues_follow_the_jobs(reader):
    submit(3, priority="low")
    running()
    ended(JobState.SUCCEEDED, gpu=1)

    shown = snapshot(reader)

    assert shown["counts"] == {
        "submitted": 5,
        "queued": 3,
        "running": 1,
        "succeeded": 1,
        "failed": 0,
        "cancelled": 0,
    }
    assert shown["queues"]["low"]["waiting"] == 3
    assert shown["queues"]["low"]["oldest_s"] >= 0
    assert shown["queues"]["critical"]["oldest_s"] is None


def test_a_gpu_shows_its_job_and_its_sample(reader, redis):
    job = running(gpu=1)
    beat_and_sample(redis, gpu=1, held=[job.id, 1])

    gpu = snapshot(reader)["gpus"][1]

    assert (gpu["state"], gpu["utilization_percent"], gpu["power_w"]) == ("busy", 90.0, 500.0)
    assert (gpu["job"]["id"], gpu["job"]["progress"]) == (job.id, 0.5)
    assert gpu["heartbeat_age_s"] < 1
    assert gpu["spans"][0]["job"] == job.id


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ({"age": 9.5}, "offline"),
        ({"health": "fault"}, "fault"),
        ({"health": "unknown"}, "unknown"),
        ({"temperature_c": 90.0}, "hot"),
        ({"temperature_c": 90.0, "temperature_limit_c": 93.0}, "idle"),
        ({"temperature_c": 84.0, "temperature_limit_c": 83.0}, "hot"),
        ({}, "idle"),
    ],
)
def test_a_gpus_state_is_the_worst_news(reader, redis, values, state):
    beat_and_sample(redis, **values)

    assert snapshot(reader)["gpus"][0]["state"] == state


def test_a_gpu_without_a_worker_is_offline_and_its_values_unknown(reader):
    gpu = snapshot(reader)["gpus"][0]

    assert gpu["state"] == "offline"
    assert gpu["utilization_percent"] is gpu["temperature_c"] is gpu["heartbeat_age_s"] is None


@pytest.mark.parametrize(
    ("values", "limit"), [({"temperature_limit_c": 93.0}, 93.0), ({}, 85.0), ({"at": 1.0}, None)], ids=str
)
def test_a_gpu_shows_the_limit_of_its_temperature(reader, redis, values, limit):
    beat_and_sample(redis, **values)

    assert snapshot(reader)["gpus"][0]["temperature_limit_c"] == limit


def test_an_old_sample_is_not_shown_as_the_present(reader, redis):
    beat_and_sample(redis, at=0.0)

    assert snapshot(reader)["gpus"][0]["utilization_percent"] is None


def test_a_drained_gpu_says_why_it_takes_no_job(reader, redis):
    Gpu.objects.filter(index=0).update(drained=True)
    beat_and_sample(redis, note="drained by an operator")

    gpu = snapshot(reader)["gpus"][0]

    assert (gpu["state"], gpu["note"]) == ("draining", "drained by an operator")


def test_a_span_ends_with_its_outcome_and_a_requeued_job_starts_another(reader):
    job = running(gpu=0)
    snapshot(reader)
    lifecycle.requeue(job.id, 1, Reason.SHUTDOWN)
    lifecycle.claim(job.id, 2, gpu=1, boot="boot-1")

    gpus = snapshot(reader)["gpus"]

    first, second = gpus[0]["spans"][0], gpus[1]["spans"][0]
    assert (first["attempt"], first["outcome"], first["reason"]) == (1, "requeued", "shutdown")
    assert first["ended_at"] >= first["started_at"]
    assert (second["attempt"], second["outcome"]) == (2, None)


def test_an_event_is_counted_once_however_often_it_is_read(reader):
    ended(JobState.SUCCEEDED)
    ended(JobState.FAILED, gpu=1)

    for _ in range(3):
        shown = snapshot(reader)

    assert shown["kpi"]["finished_per_minute"] == 2
    assert (shown["kpi"]["failed_last_hour"], shown["kpi"]["finished_last_hour"]) == (1, 2)


def test_cancelled_jobs_neither_finish_nor_lower_the_share_of_failures(redis):
    ended(JobState.SUCCEEDED)
    ended(JobState.FAILED, gpu=1)
    for job in submit(20):
        lifecycle.cancel(job.id, actor="a test")
    ended(JobState.CANCELLED, gpu=2)
    reader = Reader(redis)

    # As a web process that starts now counts them, and as one that sees them happen.
    for shown in (snapshot(reader), snapshot(reader)):
        kpi = shown["kpi"]
        assert (kpi["failed_last_hour"], kpi["finished_last_hour"], kpi["failed_percent"]) == (1, 2, 50)
        assert shown["point"]["failed_percent"] == 50
        assert kpi["finished_per_minute"] == 2


def test_while_only_cancelled_jobs_have_ended_the_share_of_failures_is_unknown(reader):
    lifecycle.cancel(queued().id, actor="a test")

    shown = snapshot(reader)

    assert (shown["kpi"]["failed_percent"], shown["kpi"]["finished_last_hour"]) == (None, 0)


def test_a_new_web_process_shows_the_last_minutes(redis):
    first, second = ended(JobState.SUCCEEDED), running(gpu=1)

    reader = Reader(redis)
    reader.snapshot()
    history = json.loads(reader.history())

    assert {span["job"] for span in history["spans"]} == {first.id, second.id}
    assert snapshot(reader)["kpi"]["finished_last_hour"] == 1
    lengths = {len(values) for values in history["series"].values()}
    assert len(lengths) == 1


def test_what_a_new_web_process_found_already_counted_is_not_counted_again(redis):
    for _ in range(3):
        ended(JobState.SUCCEEDED)
    long_ago = timedelta(minutes=20)
    JobEvent.objects.update(at=F("at") - long_ago)
    Job.objects.update(finished_at=F("finished_at") - long_ago)

    reader = Reader(redis)

    assert snapshot(reader)["kpi"]["finished_last_hour"] == 3
    ended(JobState.SUCCEEDED)
    assert snapshot(reader)["kpi"]["finished_last_hour"] == 4


def test_what_waits_is_shown_in_the_order_of_its_start(reader):
    low, critical, normal = queued(priority="low"), queued(priority="critical"), queued(priority="normal")

    assert [job["id"] for job in snapshot(reader)["next"]] == [critical.id, normal.id, low.id]


def test_recent_jobs_and_events_come_newest_first(reader):
    jobs = [ended(JobState.SUCCEEDED) for _ in range(3)]
    for number in range(3):
        ClusterEvent.objects.create(kind="control", message=f"event {number}")

    shown = snapshot(reader)

    assert [job["id"] for job in shown["recent"]] == [job.id for job in reversed(jobs)]
    assert [event["message"] for event in shown["events"]] == ["event 2", "event 1", "event 0"]


def test_memory_is_bounded_under_a_flood_of_jobs(reader):
    for _ in range(5):
        ended(JobState.SUCCEEDED)
    reader.snapshot()
    window = reader._window
    template = window.spans()[0]

    for number in range(SPANS_MAXIMUM + 50):
        window._spans[number, 1] = template | {"job": number}
    ended(JobState.SUCCEEDED)
    reader.snapshot()

    assert len(window.spans()) <= SPANS_MAXIMUM


@pytest.mark.usefixtures("gpus")
def test_a_beat_and_a_sample_from_the_future_are_unknown(reader, redis):
    """The clock was set back, and the worker has written nothing since."""
    beat_and_sample(redis, age=-3600, at=redis.time()[0] + 3600)

    gpu = snapshot(reader)["gpus"][0]

    assert gpu["utilization_percent"] is gpu["heartbeat_age_s"] is None


def test_after_a_clock_that_was_set_back_the_charts_and_rates_go_on(reader):
    queued()
    assert snapshot(reader)["point"]["arrived_per_minute"] > 0
    JobEvent.objects.update(at=F("at") + timedelta(hours=1))
    reader._read_at += 3600
    reader._next_point += 3600

    first = snapshot(reader)
    queued()
    second = snapshot(reader)

    assert first["point"]["arrived_per_minute"] == 0
    assert second["point"]["arrived_per_minute"] > 0
    assert json.loads(reader.history())["series"]["t"]
