"""Priorities, states, presets and the other words are accepted in any case, and kept and shown in lower case."""

from __future__ import annotations

import json
from typing import Any

import pytest
from redis import Redis

from gpu_tasks.faults.requests import requests_key
from scheduler.models import ClusterEvent, Control, Job
from scheduler.rules.states import JobState
from tests.build import ended, queued
from tests.with_database.cluster_dashboard.api.test_api import Api, api, problem
from tests.with_database.cluster_dashboard.api.test_api_faults import worker_elsewhere

__all__ = ["api", "worker_elsewhere"]

pytestmark = pytest.mark.usefixtures("control", "gpus")


@pytest.mark.parametrize("written", ["high", "HIGH", "High"])
def test_priority_of_a_submission(api: Api, written: str) -> None:
    alone = api.post("/jobs", {"type": "sleep", "priority": written})
    listed = api.post("/jobs", {"jobs": [{"type": "sleep", "priority": written}]})

    assert (alone.status_code, listed.status_code) == (202, 202)
    assert list(Job.objects.values_list("priority", flat=True)) == ["high", "high"]


@pytest.mark.parametrize(
    "query",
    ["state=FAILED&priority=HIGH", "state=failed&priority=High", "reason=JOB_ERROR", "source=CLI", "state=Failed"],
)
def test_filters_of_the_list(api: Api, query: str) -> None:
    wanted = ended(JobState.FAILED, priority="high", source="cli")
    Job.objects.filter(id=wanted.id).update(reason="job_error")
    queued(priority="low")

    found = api.get(f"/jobs?{query}").json()["jobs"]

    assert [(job["id"], job["state"], job["priority"]) for job in found] == [(wanted.id, "failed", "high")]


@pytest.mark.parametrize("written", ["maximum", "MAXIMUM", "Maximum"])
def test_preset_and_fault_profile(api: Api, written: str) -> None:
    answer = api.patch("/control", {"preset": written, "fault_profile": "NONE"}).json()

    assert (answer["preset"], answer["fault_profile"], answer["rate_per_minute"]) == ("maximum", "none", 50)
    control = Control.objects.get()
    assert (control.preset, control.fault_profile) == ("maximum", "none")
    after: Any = ClusterEvent.objects.latest("id").after
    assert after["preset"] == "maximum"


def test_kind_of_a_fault(api: Api, redis: Redis, worker_elsewhere: int) -> None:
    answer = api.post(f"/gpus/{worker_elsewhere}/faults", {"kind": "WORKER_HUNG"})

    assert (answer.status_code, answer.json()["kind"]) == (202, "worker_hung")
    assert json.loads(redis.lpop(requests_key(worker_elsewhere)))["kind"] == "worker_hung"


@pytest.mark.parametrize(
    ("method", "path", "body", "field", "words"),
    [
        ("POST", "/jobs", {"type": "sleep", "priority": "URGENT"}, "priority", "critical, high, normal, low"),
        ("GET", "/jobs?state=DONE", None, "state", "queued, running, succeeded, failed, cancelled"),
        ("PATCH", "/control", {"preset": "TURBO"}, "preset", "light, normal, high, extreme, maximum"),
        ("POST", "/gpus/0/faults", {"kind": "FLOOD"}, "kind", "worker_hung"),
    ],
)
def test_word_that_is_not_known_is_refused_with_those_that_are(
    api: Api, method: str, path: str, body: Any, field: str, words: str
) -> None:
    status, errors = problem(api.send(method, path, "" if body is None else json.dumps(body)))

    assert status == 422
    assert words in errors[field]


def test_schema_lists_the_words_in_lower_case(api: Api) -> None:
    schemas = api.get("/openapi.json").json()["components"]["schemas"]

    assert schemas["Priority"]["enum"] == ["critical", "high", "normal", "low"]
    assert schemas["Preset"]["enum"] == ["light", "normal", "high", "extreme", "maximum"]
