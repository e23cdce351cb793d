"""F8: admission and the window bound what waits in the database and in Redis."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from redis import Redis
from redis.exceptions import OutOfMemoryError

from scheduler.broker.hints import WINDOW, queue_key
from scheduler.loops.relay import Relay
from scheduler.models import Job
from tests.build import submit
from tests.with_database.cluster_dashboard.api.test_api import Api, api, no_broker

__all__ = ["api", "no_broker"]

pytestmark = pytest.mark.usefixtures("control", "gpus")


@pytest.fixture
def statuses(api: Api, no_broker: None, settings: Any) -> list[int]:
    """Of three requests for 15 jobs each, where 20 may wait."""
    settings.QUEUED_MAX = 20
    return [api.post("/jobs", {"type": "sleep", "count": 15}).status_code for _ in range(3)]


def test_more_jobs_than_may_wait_are_refused(statuses: list[int]) -> None:
    assert (statuses, Job.objects.count()) == ([202, 503, 503], 15)


@pytest.mark.mutant("no_admission")
def test_without_admission_they_pile_up(statuses: list[int]) -> None:
    assert (statuses, Job.objects.count()) == ([202, 202, 202], 45)


@pytest.fixture
def small_broker(redis: Redis) -> Iterator[Redis]:
    """Room for the window's hints, and not for three times as many."""
    before = redis.config_get("maxmemory")["maxmemory"]
    redis.config_set("maxmemory", redis.info("memory")["used_memory"] + 2 * WINDOW * 1024)
    yield redis
    redis.config_set("maxmemory", before)


def pile_up() -> None:
    """Jobs that wait long enough for the relay, four times as many as the window holds."""
    submit(4 * WINDOW)
    Job.objects.update(queued_at=F("queued_at") - timedelta(seconds=3))


def test_a_backlog_does_not_fill_the_broker(small_broker: Redis) -> None:
    pile_up()

    assert Relay(small_broker).tick(0.0) == WINDOW
    assert small_broker.llen(queue_key("normal")) == WINDOW
    # Heartbeats and everything else that has to be written still fit.
    small_broker.set("a-heartbeat", "x" * 1000)


@pytest.mark.mutant("no_admission")
def test_without_the_window_a_backlog_fills_the_broker(small_broker: Redis) -> None:
    pile_up()

    with pytest.raises(OutOfMemoryError):
        Relay(small_broker).tick(0.0)
