"""Admission and the window, with and without them: what fills up without it stays small with it."""

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
from scheduler.remedies import Remedy
from tests.build import submit
from tests.with_database.cluster_dashboard.api.test_api import Api, api, no_broker

__all__ = ["api", "no_broker"]

pytestmark = pytest.mark.usefixtures("control", "gpus")


@pytest.fixture(params=["on", "off"])
def remedy_on(request: pytest.FixtureRequest, settings: Any) -> bool:
    settings.REMEDIES_OFF = frozenset() if request.param == "on" else frozenset({Remedy.ADMISSION})
    return bool(request.param == "on")


@pytest.mark.usefixtures("no_broker")
def test_more_jobs_than_may_wait_are_refused_and_without_it_pile_up(api: Api, settings: Any, remedy_on: bool) -> None:
    settings.QUEUED_MAX = 20
    statuses = [api.post("/jobs", {"type": "sleep", "count": 15}).status_code for _ in range(3)]

    if remedy_on:
        assert (statuses, Job.objects.count()) == ([202, 503, 503], 15)
    else:
        assert (statuses, Job.objects.count()) == ([202, 202, 202], 45)


@pytest.fixture
def small_broker(redis: Redis) -> Iterator[Redis]:
    """Room for the window's hints, and not for three times as many."""
    before = redis.config_get("maxmemory")["maxmemory"]
    redis.config_set("maxmemory", redis.info("memory")["used_memory"] + 2 * WINDOW * 1024)
    yield redis
    redis.config_set("maxmemory", before)


def test_a_backlog_does_not_fill_the_broker_and_without_it_does(small_broker: Redis, remedy_on: bool) -> None:
    submit(4 * WINDOW)
    Job.objects.update(queued_at=F("queued_at") - timedelta(seconds=3))

    if remedy_on:
        assert Relay(small_broker).tick(0.0) == WINDOW
        assert small_broker.llen(queue_key("normal")) == WINDOW
        # Heartbeats and all else that has to be written still fit.
        small_broker.set("a-heartbeat", "x" * 1000)
    else:
        with pytest.raises(OutOfMemoryError):
            Relay(small_broker).tick(0.0)
