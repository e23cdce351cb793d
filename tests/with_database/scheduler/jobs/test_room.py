"""Admission: new jobs are refused before disk, queue or broker is full, and nothing is half done."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from redis import Redis

from cluster_dashboard.api import broker
from cluster_dashboard.live.reader import Reader
from scheduler.jobs import room
from scheduler.jobs.clock import database_now
from scheduler.jobs.controls import change_control
from scheduler.jobs.room import BYTES_FOR_EACH_JOB, Lack, Room, shortage_in
from scheduler.loops import generator
from scheduler.models import ClusterEvent, Job, JobEvent
from tests.build import submit
from tests.services import wait_until
from tests.with_database.cli import run
from tests.with_database.cluster_dashboard.api.test_api import Api, api, problem

__all__ = ["api"]

pytestmark = pytest.mark.usefixtures("control", "gpus", "redis", "_fresh_clients")

SLEEP = {"type": "sleep", "params": {"seconds": 0}}


@pytest.fixture
def _fresh_clients() -> Iterator[None]:
    """What a process keeps of the broker is this test's alone."""
    caches = (broker.client, room._broker_watch)
    for cached in caches:
        cached.cache_clear()
    generator._Logged.shortage = None
    yield
    for cached in caches:
        cached.cache_clear()
    generator._Logged.shortage = None


@pytest.fixture
def full_queue(settings: Any) -> None:
    settings.QUEUED_MAX = 5
    submit(4)


@pytest.fixture
def full_disk(settings: Any) -> None:
    """The floor is higher than any disk of ours."""
    settings.DISK_FREE_MIN_BYTES = 2**62


@pytest.fixture
def full_broker(redis: Redis, _fresh_clients: None) -> Iterator[Redis]:
    """Not full, but nearly; what this process knows of it is fresh."""
    before = redis.config_get("maxmemory")["maxmemory"]
    redis.config_set("maxmemory", int(redis.info("memory")["used_memory"] * 1.02))
    wait_until(lambda: (room.broker_share() or 0) > room.BROKER_SHARE_MAXIMUM, 10, "the broker's memory is known")
    yield redis
    redis.config_set("maxmemory", before)


# --- the judgement --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "count", "lack"),
    [
        ({}, 1, None),
        ({"free_bytes": 2**30 + BYTES_FOR_EACH_JOB}, 1, None),
        ({"free_bytes": 2**30 + BYTES_FOR_EACH_JOB}, 2, Lack.DISK),
        ({"free_bytes": 2**30 - 1}, 1, Lack.DISK),
        ({"queued": 990}, 10, None),
        ({"queued": 990}, 11, Lack.QUEUE),
        ({"queued": 0}, 1001, Lack.QUEUE),
        ({"broker_share": None}, 1, None),
        ({"broker_share": 0.9}, 1, None),
        ({"broker_share": 0.91}, 1, Lack.BROKER),
    ],
)
def test_the_first_thing_that_lacks_refuses(settings: Any, changes: Any, count: int, lack: Lack | None) -> None:
    settings.DISK_FREE_MIN_BYTES, settings.QUEUED_MAX = 2**30, 1000
    values: dict[str, Any] = {"free_bytes": 2**40, "queued": 0, "broker_share": 0.1, **changes}

    found = shortage_in(Room(**values), count)

    assert (found and found.lack) == lack


def test_a_floor_of_zero_asks_nothing_of_the_disk(settings: Any) -> None:
    settings.DISK_FREE_MIN_BYTES = 0

    assert shortage_in(Room(free_bytes=0, queued=0)) is None


def test_what_is_looked_at_is_this_disk_and_these_jobs(settings: Any) -> None:
    submit(3)

    found = room.look()

    free = shutil.disk_usage(settings.STATE_DIR).free
    assert found.queued == 3
    assert abs(found.free_bytes - free) < 2**30


# --- everybody who submits ------------------------------------------------------------------------


def test_api_answers_503_with_reason_and_retry_after(api: Api, full_queue: None) -> None:
    answer = api.post("/jobs", {**SLEEP, "count": 2})

    assert problem(answer)[0] == 503
    assert (answer["Retry-After"], json.loads(answer.content)["reason"]) == ("10", "too_many_queued")
    assert "4 jobs are queued; 2 more would exceed 5 (QUEUED_MAX)" in json.loads(answer.content)["detail"]
    assert Job.objects.count() == 4
    # There is room for one.
    assert api.post("/jobs", SLEEP).status_code == 202


def test_api_refuses_all_of_a_call_that_fits_in_part(api: Api, settings: Any) -> None:
    settings.QUEUED_MAX = 300  # more than a transaction's jobs, fewer than the call's

    answer = api.post("/jobs", {**SLEEP, "count": 400})

    assert answer.status_code == 503
    assert (Job.objects.count(), JobEvent.objects.count()) == (0, 0)


def test_api_refuses_for_the_disk(api: Api, full_disk: None) -> None:
    answer = api.post("/jobs", SLEEP)

    assert (answer.status_code, answer["Retry-After"]) == (503, "60")
    assert json.loads(answer.content)["reason"] == "disk_nearly_full"


@pytest.mark.usefixtures("full_broker")
def test_api_refuses_for_the_broker(api: Api) -> None:
    answer = api.post("/jobs", SLEEP)

    assert answer.status_code == 503
    assert json.loads(answer.content)["reason"] == "broker_nearly_full"
    assert Job.objects.count() == 0


def test_a_refused_key_is_free_again(api: Api, full_queue: None, settings: Any) -> None:
    headers = {"headers": {"Idempotency-Key": "k-1"}}
    assert api.post("/jobs", {**SLEEP, "count": 2}, **headers).status_code == 503
    settings.QUEUED_MAX = 100

    answer = api.post("/jobs", {**SLEEP, "count": 2}, **headers)

    assert answer.status_code == 202
    assert Job.objects.count() == 6


def test_run_again_is_refused_too(api: Api, full_queue: None, settings: Any) -> None:
    settings.QUEUED_MAX = 4

    answer = api.post(f"/jobs/{Job.objects.first().id}/run-again")

    assert answer.status_code == 503
    assert Job.objects.count() == 4


def test_command_says_one_line_and_exits_with_4(full_queue: None) -> None:
    ran = run("submit", "sleep", "--count", "2")

    assert (ran.code, ran.out) == (4, "")
    assert ran.error_line.startswith("gpuc submit: no room for more jobs: 4 jobs are queued")
    assert Job.objects.count() == 4


@pytest.mark.usefixtures("full_broker")
def test_command_asks_the_broker_itself() -> None:
    room._broker_watch.cache_clear()

    ran = run("submit", "sleep")

    assert ran.code == 4
    assert "The broker is nearly full" in ran.error_line


def test_admin_refuses_with_a_message(full_queue: None) -> None:
    User.objects.create_superuser("boss", password="a password")
    client = Client()
    client.force_login(User.objects.get())
    ids = list(Job.objects.values_list("id", flat=True))

    answer = client.post(
        "/admin/scheduler/job/", {"action": "run_again", "_selected_action": ids}, follow=True
    ).content.decode()

    assert "Nothing was submitted. 4 jobs are queued; 4 more" in answer
    assert Job.objects.count() == 4


# --- the generator --------------------------------------------------------------------------------


def said() -> list[str]:
    return list(ClusterEvent.objects.filter(kind="generator").order_by("id").values_list("message", flat=True))


def test_generator_stops_logs_it_once_and_makes_up_for_nothing(settings: Any) -> None:
    change_control(actor="a test", rate_per_minute=600)
    now = database_now()
    generator.tick(now)
    settings.QUEUED_MAX = max(1, Job.objects.queued().count())
    submit(1)
    before = Job.objects.count()

    for second in range(1, 60):
        assert generator.tick(now + timedelta(seconds=second)) == []

    assert Job.objects.count() == before
    (words,) = said()
    assert words.startswith("The generator submits no jobs. ")
    settings.QUEUED_MAX = 1000
    made = [job for second in range(60, 70) for job in generator.tick(now + timedelta(seconds=second))]
    # Ten seconds' worth, not seventy.
    assert 40 < len(made) < 200
    assert said() == [words, "There is room again: the generator submits jobs"]


# --- the page -------------------------------------------------------------------------------------


def test_snapshot_says_why_jobs_are_refused(redis: Redis, full_queue: None, settings: Any) -> None:
    reader = Reader(redis)
    assert json.loads(reader.snapshot())["no_room"] is None
    settings.QUEUED_MAX = 4

    assert json.loads(reader.snapshot())["no_room"] == {
        "reason": "too_many_queued",
        "words": "4 jobs are queued; 1 more would exceed 4 (QUEUED_MAX).",
    }


def test_snapshot_knows_a_full_broker(full_broker: Redis) -> None:
    assert json.loads(Reader(full_broker).snapshot())["no_room"]["reason"] == "broker_nearly_full"
