"""What the REST API takes, gives and refuses."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from cluster_dashboard import health
from cluster_dashboard.api import broker, submission
from scheduler.jobs import lifecycle
from scheduler.jobs import submit as intake
from scheduler.loops.heartbeats import Beat, write_beat
from scheduler.loops.samples import samples_key
from scheduler.models import ClusterEvent, Control, Gpu, Job
from scheduler.rules.gpu import GpuHealth, GpuSample
from scheduler.rules.states import JobState, Priority, Source
from tests.build import ended, queued, reread, running, submit

pytestmark = pytest.mark.usefixtures("control", "gpus", "no_broker")


@pytest.fixture
def no_broker(settings: Any, tmp_path: Any) -> Iterator[None]:
    """Nothing listens there; the process-wide clients are made anew."""
    settings.REDIS_URL = f"unix://{tmp_path}/nothing.sock"
    for cached in (broker.client, health._broker):
        cached.cache_clear()
    yield
    for cached in (broker.client, health._broker):
        cached.cache_clear()


class Api:
    """A client with the token; bodies are JSON."""

    def __init__(self) -> None:
        self._client = Client(headers={"authorization": "Bearer token-of-the-tests-0123456789"})

    def get(self, path: str) -> Any:
        return self._client.get(f"/api{path}")

    def post(self, path: str, body: Any = None, **options: Any) -> Any:
        return self.send("POST", path, "" if body is None else json.dumps(body), **options)

    def patch(self, path: str, body: Any) -> Any:
        return self.send("PATCH", path, json.dumps(body))

    def send(self, method: str, path: str, text: str | bytes, **options: Any) -> Any:
        return self._client.generic(method, f"/api{path}", text, content_type="application/json", **options)


@pytest.fixture
def api() -> Api:
    return Api()


def problem(answer: Any) -> tuple[int, dict[str, str]]:
    """Status and message by field of an answer that must be problem details."""
    assert answer["Content-Type"] == "application/problem+json"
    body = json.loads(answer.content)
    assert body["status"] == answer.status_code
    assert body.keys() >= {"type", "title", "status", "detail", "errors"}
    return answer.status_code, {error["field"]: error["message"] for error in body["errors"]}


# --- submit ---------------------------------------------------------------------------------------


def test_submitted_job_waits_with_every_parameter_filled_in(api: Api) -> None:
    answer = api.post("/jobs", {"type": "sleep", "priority": "high", "params": {"seconds": 2}, "name": "my-job"})

    assert answer.status_code == 202
    job = Job.objects.get(id__in=answer.json()["ids"])
    assert (job.name, job.type, job.priority, job.state) == ("my-job", "sleep", Priority.HIGH, JobState.QUEUED)
    assert (job.source, job.params["seconds"]) == (Source.API, 2)
    assert job.params.keys() >= {"memory_mib", "load"}


def test_count_makes_equal_jobs_with_numbered_names(api: Api) -> None:
    ids = api.post("/jobs", {"type": "sleep", "name": "many", "count": 3}).json()["ids"]

    assert list(Job.objects.order_by("id").values_list("id", "name")) == [
        (ids[0], "many-1"),
        (ids[1], "many-2"),
        (ids[2], "many-3"),
    ]


def test_random_faults_spare_a_submitted_job_unless_it_accepts_them(api: Api) -> None:
    spared, willing = (
        api.post("/jobs", {"type": "sleep", **fields}).json()["ids"][0] for fields in ({}, {"accepts_faults": True})
    )

    assert not Job.objects.get(id=spared).accepts_faults
    assert Job.objects.get(id=willing).accepts_faults


class FrozenRedis:
    """Takes a command and does not answer until it is let go."""

    def __init__(self) -> None:
        self.asked, self.thawed = threading.Event(), threading.Event()

    def pipeline(self, **_: Any) -> Any:
        self.asked.set()
        self.thawed.wait(30)
        raise RedisConnectionError("frozen")


def test_answer_does_not_wait_for_the_broker(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    frozen = FrozenRedis()
    monkeypatch.setattr(submission, "client", lambda: frozen)

    answer = api.post("/jobs", {"type": "sleep"})

    still_frozen = not frozen.thawed.is_set()
    was_asked = frozen.asked.wait(10)
    frozen.thawed.set()
    assert (answer.status_code, still_frozen, was_asked) == (202, True, True)


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({}, "type", "is required"),
        ({"type": "slep"}, "type", "must be one of compute, fault_injection, matrix, sleep"),
        ({"type": "sleep", "priority": "urgent"}, "priority", "must be one of critical, high, normal, low"),
        ({"type": "sleep", "count": 0}, "count", "must be a whole number from 1 to 10000"),
        ({"type": "sleep", "count": 10**30}, "count", "must be a whole number from 1 to 10000"),
        ({"type": "sleep", "count": True}, "count", "must be a whole number"),
        ({"type": "sleep", "count": "3"}, "count", "must be a whole number"),
        ({"type": "sleep", "cuont": 3}, "cuont", "must be one of type, priority, params, name"),
        ({"type": "sleep", "time_limit_seconds": 1_209_601}, "time_limit_seconds", "from 1 to 1209600"),
        ({"type": "sleep", "name": "two words"}, "name", "letters, digits"),
        ({"type": "sleep", "params": []}, "params", "must be a JSON object"),
        ({"type": "sleep", "params": {"seconds": -1}}, "params.seconds", "must be a number from 0 to 86400"),
        ({"type": "sleep", "params": {"seconds": "5"}}, "params.seconds", "must be a number"),
        ({"type": "sleep", "params": {"secs": 1}}, "params.secs", "must be one of seconds, memory_mib, load"),
        ({"type": "compute", "params": {"kernel": "x"}}, "params.kernel", "must be one of monte_carlo_pi"),
        ({"type": "compute", "params": {"kernel": "a\0b"}}, "params.kernel", "NUL"),
        ({"type": "compute", "params": {"kernel": "\ud800"}}, "params.kernel", "surrogate"),
        ({"type": "sl\0ep"}, "type", "unknown job type"),
        ([], "body", "must be a JSON object"),
        (None, "body", "is required"),
    ],
)
def test_wrong_submission_names_the_field_and_what_it_takes(api: Api, body: Any, field: str, words: str) -> None:
    status, errors = problem(api.post("/jobs", body))

    assert status == 422
    assert words in errors[field]
    assert not Job.objects.exists()


def test_every_wrong_field_is_named_at_once(api: Api) -> None:
    _, errors = problem(api.post("/jobs", {"type": "sleep", "count": 0, "priority": "x", "more": 1}))

    assert errors.keys() == {"count", "priority", "more"}


@pytest.mark.parametrize(
    "text",
    ['{"type":', '{"count": NaN}', '{"count": -Infinity}', '{"count": 1e999}', b'{"type": "\xff"}', "[" * 100_000],
)
def test_body_that_is_no_json_is_refused(api: Api, text: str | bytes) -> None:
    assert problem(api.send("POST", "/jobs", text))[0] == 400


def test_body_that_is_too_large_is_refused(api: Api) -> None:
    assert problem(api.send("POST", "/jobs", " " * 9_000_000))[0] == 413


def test_taken_name_is_a_conflict_and_leaves_nothing_behind(api: Api) -> None:
    queued(name="mine-300")

    status, errors = problem(api.post("/jobs", {"type": "sleep", "name": "mine", "count": 300}))

    assert (status, Job.objects.count()) == (409, 1)
    assert "'mine-300' is taken" in errors["name"]


def test_database_away_in_the_middle_names_the_jobs_that_are_in(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    insert_really, calls = intake.insert, []

    def insert_once(requests: Any, **options: Any) -> Any:
        calls.append(len(requests))
        if len(calls) > 1:
            raise OperationalError("database is locked")
        return insert_really(requests, **options)

    monkeypatch.setattr(intake, "insert", insert_once)

    answer = api.post("/jobs", {"type": "sleep", "count": 300})

    assert (problem(answer)[0], answer["Retry-After"]) == (503, "2")
    assert json.loads(answer.content)["accepted_ids"] == list(Job.objects.order_by("id").values_list("id", flat=True))
    assert len(calls) == 2


# --- list and look --------------------------------------------------------------------------------


def test_list_shows_the_newest_first_and_pages_by_key(api: Api) -> None:
    ids = [job.id for job in submit(5)]

    first = api.get("/jobs?limit=3").json()
    second = api.get(f"/jobs?limit=3&before={first['next_before']}").json()

    assert [job["id"] for job in first["jobs"] + second["jobs"]] == ids[::-1]
    assert second["next_before"] is None


def test_page_that_is_just_full_is_the_last_one(api: Api) -> None:
    submit(3)

    assert api.get("/jobs?limit=3").json()["next_before"] is None


def test_list_filters_by_state_type_and_priority(api: Api) -> None:
    wanted = running(priority="low")
    queued(priority="low")
    queued(type="matrix", params={})

    assert [job["id"] for job in api.get("/jobs?state=running&type=sleep&priority=low").json()["jobs"]] == [wanted.id]
    assert len(api.get("/jobs?type=matrix").json()["jobs"]) == 1


def test_type_of_jobs_of_the_past_is_still_a_filter(api: Api) -> None:
    old = queued()
    Job.objects.filter(id=old.id).update(type="retired")

    assert [job["id"] for job in api.get("/jobs?type=retired").json()["jobs"]] == [old.id]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("state=gone", "state"),
        ("type=nope", "type"),
        ("type=%00", "type"),
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("before=99999999999999999999", "before"),
        ("stat=queued", "stat"),
    ],
)
def test_wrong_filter_is_named(api: Api, query: str, field: str) -> None:
    status, errors = problem(api.get(f"/jobs?{query}"))

    assert (status, list(errors)) == (422, [field])


def test_job_tells_its_story_in_order(api: Api) -> None:
    job = running(gpu=2)
    lifecycle.end(job.id, 1, JobState.SUCCEEDED, result={"value": 3.14})

    found = api.get(f"/jobs/{job.id}").json()

    assert (found["state"], found["gpu"], found["attempt"], found["result"]) == ("succeeded", 2, 1, {"value": 3.14})
    assert [(step["n"], step["kind"]) for step in found["events"]] == [
        (1, "submitted"),
        (2, "started"),
        (3, "succeeded"),
    ]
    assert found["finished_at"] >= found["started_at"] >= found["submitted_at"]


@pytest.mark.parametrize("job_id", ["abc", "0", "-1", "9223372036854775808", "1%00", "1.5"])
def test_job_id_that_no_database_holds_is_refused(api: Api, job_id: str) -> None:
    assert problem(api.get(f"/jobs/{job_id}"))[0] == 422


def test_unknown_job_is_not_found(api: Api) -> None:
    assert problem(api.get("/jobs/9223372036854775807"))[0] == 404


# --- cancel ---------------------------------------------------------------------------------------


def test_waiting_job_is_cancelled_at_once(api: Api) -> None:
    job = queued()

    answer = api.post(f"/jobs/{job.id}/cancel")

    assert (answer.status_code, answer.json()) == (200, {"outcome": "cancelled"})
    assert reread(job).state == JobState.CANCELLED


def test_running_job_is_asked_to_stop(api: Api) -> None:
    job = running()

    assert api.post(f"/jobs/{job.id}/cancel").json() == {"outcome": "requested"}
    assert reread(job).cancel_requested


def test_ended_job_cannot_be_cancelled(api: Api) -> None:
    assert problem(api.post(f"/jobs/{ended(JobState.SUCCEEDED).id}/cancel"))[0] == 409


def test_unknown_job_cannot_be_cancelled(api: Api) -> None:
    assert problem(api.post("/jobs/77/cancel"))[0] == 404


# --- control and GPUs -----------------------------------------------------------------------------


def test_control_lists_the_presets(api: Api) -> None:
    found = api.get("/control").json()

    assert (found["rate_per_minute"], found["preset"], found["paused"]) == (12, "normal", False)
    assert {"name": "light", "label": "Light Load", "rate_per_minute": 2} in found["presets"]


def test_preset_sets_the_rate_and_leaves_an_audit_event(api: Api) -> None:
    answer = api.patch("/control", {"preset": "high", "paused": True, "fault_profile": "none"})

    assert (answer.json()["rate_per_minute"], answer.json()["paused"], answer.json()["fault_profile"]) == (
        25,
        True,
        "none",
    )
    assert ClusterEvent.objects.get().message == (
        "Load set to High Load, 25 jobs / min; arrivals paused; fault profile set to none, by token"
    )


def test_change_to_what_is_already_so_leaves_no_event(api: Api) -> None:
    assert api.patch("/control", {"rate_per_minute": 12, "paused": False}).status_code == 200
    assert api.patch("/control", {}).status_code == 200
    assert not ClusterEvent.objects.exists()


@pytest.mark.parametrize("rate", [0, -1, 0.09, 100_001, 10**400, "12", True])
def test_absurd_rate_is_refused_with_the_range(api: Api, rate: Any) -> None:
    status, errors = problem(api.patch("/control", {"rate_per_minute": rate}))

    assert (status, errors) == (422, {"rate_per_minute": "must be a number from 0.1 to 100000"})
    assert Control.objects.get().rate_per_minute == 12


def test_preset_and_rate_together_are_refused(api: Api) -> None:
    assert problem(api.patch("/control", {"rate_per_minute": 3, "preset": "high"}))[0] == 422


def test_gpus_are_shown_with_unknowns_while_the_broker_is_away(api: Api, gpus: list[Gpu]) -> None:
    job = running(gpu=1)

    found = api.get("/gpus").json()["gpus"]

    assert [gpu["index"] for gpu in found] == [0, 1, 2]
    assert (found[0]["state"], found[0]["utilization_percent"], found[0]["heartbeat_age_s"]) == (None, None, None)
    assert found[1]["job"] == {"id": job.id, "name": job.name, "attempt": 1}


@pytest.fixture
def beat(redis: Redis, no_broker: None, valkey_server: Any, settings: Any) -> Callable[[int], None]:
    """A healthy worker's heartbeat and sample, now."""
    settings.REDIS_URL = valkey_server.url
    sample = GpuSample(
        health=GpuHealth.HEALTHY,
        utilization_percent=42.0,
        memory_used_mib=1000,
        memory_total_mib=81559,
        temperature_c=50.0,
        power_w=None,
    )

    def write(gpu: int) -> None:
        at = float(redis.time()[0])
        write_beat(
            redis,
            Beat(gpu=gpu, boot="b", seq=1, pid=1, child_pid=None, host="h", held=(), health="healthy", note="", at=at),
        )
        redis.hset(samples_key(), str(gpu), json.dumps({**asdict(sample), "at": at}))

    return write


def test_gpu_with_a_heartbeat_shows_what_its_worker_measures(api: Api, gpus: list[Gpu], beat: Any) -> None:
    beat(0)

    found = api.get("/gpus").json()["gpus"]

    assert (found[0]["state"], found[0]["utilization_percent"], found[0]["power_w"]) == ("idle", 42.0, None)
    assert found[1]["state"] == "offline"


def test_drained_gpu_says_so_and_leaves_an_audit_event(api: Api, gpus: list[Gpu], beat: Any) -> None:
    beat(2)

    answer = api.patch("/gpus/2", {"drained": True, "failure_rate": 0.5})

    assert (answer.json()["state"], answer.json()["failure_rate"]) == ("draining", 0.5)
    assert ClusterEvent.objects.get().gpu == 2


@pytest.mark.parametrize(("index", "status"), [("9", 404), ("40000", 422), ("-1", 422), ("x", 422)])
def test_gpu_that_is_not_there_is_refused(api: Api, gpus: list[Gpu], index: str, status: int) -> None:
    assert problem(api.patch(f"/gpus/{index}", {"drained": True}))[0] == status


def test_job_types_come_with_the_schema_of_their_parameters(api: Api) -> None:
    found = {each["name"]: each for each in api.get("/job-types").json()["job_types"]}

    assert found.keys() >= {"sleep", "compute", "matrix", "fault_injection"}
    assert found["sleep"]["params_schema"]["properties"]["seconds"]["maximum"] == 86_400


# --- errors, docs, health -------------------------------------------------------------------------


def test_unknown_address_below_api_is_a_problem(api: Api) -> None:
    assert problem(api.get("/nothing"))[0] == 404
    assert problem(api.post("/jobs/1/explode"))[0] == 404


def test_wrong_method_is_a_problem_that_names_the_right_ones(api: Api) -> None:
    answer = api.send("DELETE", "/jobs", "")

    assert problem(answer)[0] == 405
    assert set(answer["Allow"].split(", ")) == {"GET", "POST"}


class DatabaseAway:
    """As if the server had gone: every statement fails."""

    def __call__(self, *_: Any) -> None:
        raise OperationalError("server closed the connection unexpectedly")


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/jobs"), ("GET", "/control"), ("POST", "/jobs"), ("POST", "/jobs/1/cancel")]
)
def test_database_away_says_when_to_come_back(api: Api, method: str, path: str) -> None:
    with connection.execute_wrapper(DatabaseAway()):
        answer = api.send(method, path, '{"type": "sleep"}')

    assert (problem(answer)[0], answer["Retry-After"]) == (503, "2")


def test_description_offers_each_job_type_with_its_parameters(api: Api) -> None:
    schemas = api.get("/openapi.json").json()["components"]["schemas"]

    assert {form["$ref"].rpartition("_")[2] for form in schemas["SubmitJobs"]["oneOf"]} >= {"sleep", "compute"}
    assert schemas["Params_sleep"]["properties"].keys() >= {"seconds", "memory_mib", "load"}


def test_healthz_answers_while_the_broker_is_away(client: Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok", "checks": {"database": "ok"}}


def test_healthz_fails_with_the_database(client: Client) -> None:
    with connection.execute_wrapper(DatabaseAway()):
        answer = client.get("/healthz")

    assert problem(answer) == (503, {"database": "is unreachable (OperationalError)"})


def test_readyz_names_the_broker_that_is_away(client: Client) -> None:
    status, errors = problem(client.get("/readyz"))

    assert (status, list(errors)) == (503, ["broker"])


def test_readyz_refuses_a_broker_that_may_evict(client: Client, redis: Redis, settings: Any) -> None:
    settings.REDIS_URL = f"unix://{settings.BROKER_SOCKET}?db=0"
    redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        status, errors = problem(client.get("/readyz"))
    finally:
        redis.config_set("maxmemory-policy", "noeviction")

    assert status == 503
    assert errors is not None
    assert errors["broker"].startswith("has maxmemory-policy allkeys-lru; it must be noeviction")


def test_readyz_answers_when_everything_does(client: Client, beat: Any) -> None:
    assert client.get("/readyz").json() == {"status": "ok", "checks": {"database": "ok", "broker": "ok"}}


def test_people_release_a_gpu_from_quarantine_by_the_api(api: Api) -> None:
    Gpu.objects.filter(index=1).update(quarantined="GPU fault: NVML: GPU is lost")

    answer = api.patch("/gpus/1", {"quarantined": False})

    assert (answer.status_code, answer.json()["quarantined"]) == (200, "")
    assert ClusterEvent.objects.get(kind="gpu").before["quarantined"] == "GPU fault: NVML: GPU is lost"
    assert problem(api.patch("/gpus/1", {"quarantined": "no"}))[1].keys() == {"quarantined"}
