"""Many jobs in a call, the same call twice, filters, waiting for a job and following it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from asgiref.testing import ApplicationCommunicator
from django.core.signals import request_finished
from django.db import OperationalError, connection, connections
from django.db.models import F
from django.utils.http import urlencode
from redis import Redis

from cluster_dashboard.api import follow, one_job
from cluster_dashboard.api.http import idempotency, rate_limit
from cluster_dashboard.api.http.rate_limit import Limiter
from cluster_dashboard.asgi import application
from cluster_dashboard.models import KeptSubmission
from scheduler.jobs import lifecycle
from scheduler.jobs import submit as intake
from scheduler.loops.samples import samples_key
from scheduler.models import Control, Gpu, Job
from scheduler.rules.states import JobState, Reason
from tests.build import ended, queued, reread, running, submit
from tests.with_database.cluster_dashboard.api.test_api import Api, api, no_broker, problem

__all__ = ["api", "no_broker"]

pytestmark = pytest.mark.usefixtures("control", "gpus", "no_broker")


# --- a list of different jobs ---------------------------------------------------------------------


def test_list_of_different_jobs_goes_in_in_its_order(api: Api) -> None:
    wanted = [
        {"type": "sleep", "priority": "low", "params": {"seconds": 1}, "name": "first"},
        {"type": "matrix", "priority": "critical"},
        {"type": "sleep", "max_failures": 1},
    ]

    answer = api.post("/jobs", {"jobs": wanted})

    assert answer.status_code == 202
    found = Job.objects.in_bulk(answer.json()["ids"])
    jobs = [found[job_id] for job_id in answer.json()["ids"]]
    assert [(job.type, job.priority, job.max_failures) for job in jobs] == [
        ("sleep", "low", 3),
        ("matrix", "critical", 3),
        ("sleep", "normal", 1),
    ]
    assert jobs[0].name == "first"


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({"jobs": []}, "jobs", "must be a list of 1 to 10000 items"),
        ({"jobs": [{"type": "sleep"}] * 10_001}, "jobs", "must be a list of 1 to 10000 items"),
        ({"jobs": {}}, "jobs", "must be a list of 1 to 10000 items"),
        ({"jobs": [{"type": "sleep"}], "type": "sleep"}, "type", "must be one of jobs"),
        ({"jobs": [{"type": "sleep"}, {"type": "slep"}]}, "jobs.1.type", "must be one of compute"),
        ({"jobs": [{"type": "sleep", "count": 2}]}, "jobs.0.count", "must be one of type, priority"),
        ({"jobs": [{"type": "sleep", "priority": "x"}]}, "jobs.0.priority", "must be one of critical"),
        ({"jobs": [{"type": "sleep", "params": {"seconds": -1}}]}, "jobs.0.params.seconds", "must be a number from 0"),
        ({"jobs": [{"type": "sleep", "params": {"\0": 1}}]}, "jobs.0.params", "NUL"),
        ({"jobs": [7]}, "jobs.0", "must be a JSON object"),
    ],
)
def test_wrong_list_names_the_job_and_the_field(api: Api, body: Any, field: str, words: str) -> None:
    status, errors = problem(api.post("/jobs", body))

    assert status == 422
    assert words in errors[field]
    assert not Job.objects.exists()


def test_name_given_twice_in_a_list_is_a_conflict(api: Api) -> None:
    status, errors = problem(api.post("/jobs", {"jobs": [{"type": "sleep", "name": "a"}] * 2}))

    assert (status, list(errors), Job.objects.exists()) == (409, ["jobs.1.name"], False)


def test_taken_name_in_a_list_is_a_conflict_that_names_the_job(api: Api) -> None:
    queued(name="mine")

    answer = api.post("/jobs", {"jobs": [{"type": "sleep"}, {"type": "sleep", "name": "mine"}]})

    status, errors = problem(answer)
    assert (status, errors) == (409, {"jobs.1.name": "'mine' is taken; names are unique"})
    assert json.loads(answer.content)["accepted_ids"] == []
    assert Job.objects.count() == 1


def test_name_taken_during_a_submission_is_a_conflict_that_says_what_is_in(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunk_really, calls = intake._submit_chunk, []

    def chunk(*args: Any, **options: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            queued(name="many-300")
        return chunk_really(*args, **options)

    monkeypatch.setattr(intake, "_submit_chunk", chunk)
    answer = api.post("/jobs", {"type": "sleep", "count": 600, "name": "many"})

    status, errors = problem(answer)
    assert (status, errors) == (409, {"name": "'many-300' is taken; names are unique"})
    ids = list(Job.objects.exclude(name="many-300").order_by("id").values_list("id", flat=True))
    assert json.loads(answer.content)["accepted_ids"] == ids
    assert len(ids) == 250


def test_wrong_fields_of_several_jobs_are_named_at_once(api: Api) -> None:
    jobs = [{"type": "sleep", "params": {"seconds": -1}}, {"type": "nope"}, {"type": "sleep", "name": "a b"}]

    _, errors = problem(api.post("/jobs", {"jobs": jobs}))

    assert errors.keys() == {"jobs.0.params.seconds", "jobs.1.type", "jobs.2.name"}


# --- the same call twice --------------------------------------------------------------------------


def post_with_key(api: Api, body: Any, key: str = "k-1") -> Any:
    return api.post("/jobs", body, headers={"idempotency-key": key})


def test_same_submission_again_gets_the_same_answer_and_makes_no_jobs(api: Api) -> None:
    body = {"type": "sleep", "count": 600, "name": "once"}
    first = post_with_key(api, body)

    again = post_with_key(api, dict(reversed(body.items())))

    assert (again.status_code, again.json()) == (202, first.json())
    assert Job.objects.count() == len(first.json()["ids"]) == 600


def test_other_key_is_another_submission(api: Api) -> None:
    assert post_with_key(api, {"type": "sleep"}, "a").json() != post_with_key(api, {"type": "sleep"}, "b").json()


def test_key_of_another_body_is_refused(api: Api) -> None:
    post_with_key(api, {"type": "sleep"})

    status, errors = problem(post_with_key(api, {"type": "sleep", "priority": "high"}))

    assert (status, list(errors)) == (422, ["Idempotency-Key"])
    assert Job.objects.count() == 1


@pytest.mark.parametrize("key", ["two words", "x" * 256, "tökén"])
def test_key_that_is_no_key_is_refused(api: Api, key: str) -> None:
    status, errors = problem(post_with_key(api, {"type": "sleep"}, key))

    assert (status, list(errors)) == (422, ["Idempotency-Key"])


def test_refused_submission_does_not_use_up_its_key(api: Api) -> None:
    queued(name="taken")
    assert problem(post_with_key(api, {"type": "sleep", "name": "taken"}))[0] == 409

    assert post_with_key(api, {"type": "sleep", "name": "free"}).status_code == 202


def test_submission_that_was_cut_off_goes_on_where_it_stopped(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    insert_really, calls = intake.insert, []

    def fail_once(requests: Any, **options: Any) -> Any:
        calls.append(len(requests))
        if len(calls) == 2:
            raise OperationalError("server closed the connection unexpectedly")
        return insert_really(requests, **options)

    monkeypatch.setattr(intake, "insert", fail_once)
    body = {"type": "sleep", "count": 600, "name": "long"}
    cut_off = post_with_key(api, body)

    again = post_with_key(api, body)

    assert (problem(cut_off)[0], again.status_code) == (503, 202)
    assert again.json()["ids"][:250] == json.loads(cut_off.content)["accepted_ids"]
    assert list(Job.objects.order_by("id").values_list("name", flat=True)) == [f"long-{i}" for i in range(1, 601)]


def test_second_request_at_the_same_time_gets_a_retry_after(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    chunk_really = intake._submit_chunk
    inside, go_on = threading.Event(), threading.Event()

    def slow_chunk(*args: Any, **options: Any) -> Any:
        # Before the transaction: SQLite lets only one writer in.
        inside.set()
        assert go_on.wait(20)
        return chunk_really(*args, **options)

    monkeypatch.setattr(intake, "_submit_chunk", slow_chunk)
    answers: list[Any] = []

    def first() -> None:
        try:
            answers.append(post_with_key(Api(), {"type": "sleep"}))
        finally:
            connection.close()

    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(20)

    second = post_with_key(api, {"type": "sleep"})
    go_on.set()
    thread.join(20)

    assert (problem(second)[0], second["Retry-After"]) == (409, "2")
    assert answers[0].status_code == 202
    assert post_with_key(api, {"type": "sleep"}).json() == answers[0].json()
    assert Job.objects.count() == 1


def test_hold_of_a_dead_request_is_taken_over(api: Api) -> None:
    held = idempotency.hold("token", "k-1", {"type": "sleep"})
    assert problem(post_with_key(api, {"type": "sleep"}))[0] == 409
    KeptSubmission.objects.update(held_until=reread(queued()).submitted_at)

    assert post_with_key(api, {"type": "sleep"}).status_code == 202
    # The first one was only slow: what it does now is refused with its transaction.
    with pytest.raises(Exception, match="in progress"):
        held.note([1], last=True)


def test_hold_from_before_a_clock_that_was_set_back_is_taken_over(api: Api) -> None:
    idempotency.hold("token", "k-1", {"type": "sleep"})
    KeptSubmission.objects.update(held_until=F("held_until") + timedelta(hours=1))

    assert post_with_key(api, {"type": "sleep"}).status_code == 202


def test_kept_answer_is_forgotten_after_a_day(api: Api) -> None:
    first = post_with_key(api, {"type": "sleep"}).json()
    kept = KeptSubmission.objects.get()
    KeptSubmission.objects.update(created_at=kept.created_at - timedelta(hours=25))

    assert post_with_key(api, {"type": "sleep"}).json() != first


# --- filters --------------------------------------------------------------------------------------


def listed(api: Api, **query: Any) -> list[int]:
    answer = api.get(f"/jobs?{urlencode(query)}")
    assert answer.status_code == 200, answer.content
    return [job["id"] for job in answer.json()["jobs"]]


def test_list_filters_by_gpu_reason_source_and_name(api: Api) -> None:
    failed = running(gpu=1, name="broken")
    lifecycle.end(failed.id, 1, JobState.FAILED, reason=Reason.OUT_OF_MEMORY)
    generated = queued(source="generator")
    other = running(gpu=2)

    assert listed(api, gpu=1) == [failed.id]
    assert listed(api, reason="out_of_memory") == [failed.id]
    assert listed(api, source="generator") == [generated.id]
    assert listed(api, name="broken") == [failed.id]
    assert listed(api, source="api", gpu=2) == [other.id]


@pytest.mark.parametrize("count", [1, 2, 7])
def test_list_filters_by_the_time_of_submission(api: Api, count: int) -> None:
    jobs = submit(count)
    start = jobs[0].submitted_at
    for i, job in enumerate(jobs):
        Job.objects.filter(id=job.id).update(submitted_at=start + timedelta(seconds=i))
    ids = [job.id for job in jobs]

    for i in range(count + 1):
        moment = (start + timedelta(seconds=i)).isoformat()
        assert listed(api, since=moment) == ids[i:][::-1]
        assert listed(api, until=moment) == ids[:i][::-1]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("gpu=-1", "gpu"),
        ("gpu=40000", "gpu"),
        ("reason=bad_luck", "reason"),
        ("source=cat", "source"),
        ("name=a+b", "name"),
        ("since=yesterday", "since"),
        ("since=3", "since"),
        ("until=0001-01-01T00:00:00%2B10:00", "until"),
    ],
)
def test_wrong_filter_says_what_it_takes(api: Api, query: str, field: str) -> None:
    status, errors = problem(api.get(f"/jobs?{query}"))

    assert (status, list(errors)) == (422, [field])
    assert any(words in errors[field] for words in ("must be", "1 to 100 characters"))


# --- one job --------------------------------------------------------------------------------------


def test_job_runs_again_as_a_new_one(api: Api) -> None:
    old = ended(JobState.FAILED, params={"seconds": 3}, priority="high", max_failures=1)

    answer = api.post(f"/jobs/{old.id}/run-again")

    new = Job.objects.get(id=answer.json()["ids"][0])
    assert (answer.status_code, new.state, new.name != old.name) == (202, JobState.QUEUED, True)
    same = ("type", "priority", "params", "max_failures", "time_limit_seconds", "accepts_faults")
    assert [getattr(new, name) for name in same] == [getattr(old, name) for name in same]


def test_job_whose_type_is_gone_cannot_run_again(api: Api) -> None:
    old = ended(JobState.SUCCEEDED)
    Job.objects.filter(id=old.id).update(type="retired")

    assert problem(api.post(f"/jobs/{old.id}/run-again"))[0] == 422
    assert problem(api.post("/jobs/77/run-again"))[0] == 404


def test_waiting_ends_with_the_job(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    job = running()

    def end_it(_: float) -> None:
        lifecycle.end(job.id, 1, JobState.SUCCEEDED)

    monkeypatch.setattr(one_job.time, "sleep", end_it)

    assert api.get(f"/jobs/{job.id}?wait=60").json()["state"] == "succeeded"


def test_waiting_ends_with_the_time_asked_for(api: Api) -> None:
    assert api.get(f"/jobs/{queued().id}?wait=1").json()["state"] == "queued"
    assert problem(api.get(f"/jobs/{queued().id}?wait=61")) == (422, {"wait": "must be a whole number from 0 to 60"})


def test_progress_is_that_of_this_attempt(api: Api, redis: Redis, valkey_server: Any, settings: Any) -> None:
    settings.REDIS_URL = valkey_server.url
    job, other = running(gpu=1), running(gpu=2)
    for gpu in (1, 2):
        redis.hset(samples_key(), str(gpu), json.dumps({"held": [job.id, 1], "progress": 0.25}))

    assert api.get(f"/jobs/{job.id}").json()["progress"] == 0.25
    assert api.get(f"/jobs/{other.id}").json()["progress"] is None


# --- following ------------------------------------------------------------------------------------


@pytest.fixture
def web_process() -> Iterator[None]:
    """As there: each request has a thread of its own, whose connections end with it."""

    def close(**_: object) -> None:
        connections.close_all()

    request_finished.connect(close)
    yield
    request_finished.disconnect(close)


class Stream(ApplicationCommunicator):
    """GET /api/jobs/ID/events as a browser opens it, in the words of ASGI."""

    def __init__(self, job_id: int, *headers: tuple[bytes, bytes]) -> None:
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "path": f"/api/jobs/{job_id}/events",
            "query_string": b"",
            "headers": [(b"host", b"localhost"), *headers],
        }
        super().__init__(application, scope)

    async def open(self) -> tuple[int, dict[bytes, bytes]]:
        await self.send_input({"type": "http.request"})
        start = await self.receive_output(timeout=10)
        return start["status"], dict(start["headers"])

    async def event(self) -> tuple[str, Any] | None:
        """(name, data) of the next event; None at the end of the stream."""
        while True:
            part = await self.receive_output(timeout=10)
            if not part.get("more_body"):
                return None
            lines = dict(line.split(": ", 1) for line in part["body"].decode().splitlines() if line)
            if "event" in lines:
                return lines["event"], json.loads(lines["data"])

    async def end(self) -> None:
        """The stream is over, and so is the task that looked at the jobs, with its database connection."""
        await self.wait(timeout=10)
        if (task := follow._watch()._task) is not None:
            await task


async def in_thread(function: Any, *args: Any, **options: Any) -> Any:
    def call() -> Any:
        try:
            return function(*args, **options)
        finally:
            connection.close()

    return await asyncio.get_running_loop().run_in_executor(None, call)


@pytest.mark.usefixtures("web_process")
def test_follower_sees_each_move_and_the_stream_ends_with_the_job() -> None:
    job = running()

    async def watch() -> list[Any]:
        stream = Stream(job.id)
        status, headers = await stream.open()
        assert (status, headers[b"Content-Type"], headers[b"Cache-Control"]) == (200, b"text/event-stream", b"no-store")
        found = [await stream.event()]
        await in_thread(lifecycle.cancel, job.id, actor="ada")
        found.append(await stream.event())
        await in_thread(lifecycle.end, job.id, 1, JobState.SUCCEEDED)
        found += [await stream.event(), await stream.event()]
        await stream.end()
        return found

    first, asked, last, end = async_to_sync(watch)()

    assert [(name, data["state"], len(data["events"])) for name, data in (first, asked, last)] == [
        ("job", "running", 2),
        ("job", "running", 3),
        ("job", "succeeded", 4),
    ]
    assert end is None


@pytest.mark.usefixtures("web_process")
def test_follower_sees_progress(redis: Redis, valkey_server: Any, settings: Any) -> None:
    settings.REDIS_URL = valkey_server.url
    job = running(gpu=1)

    async def watch() -> list[Any]:
        stream = Stream(job.id)
        await stream.open()
        found = [await stream.event()]
        sample = json.dumps({"held": [job.id, 1], "progress": 0.5})
        await in_thread(redis.hset, samples_key(), "1", sample)
        found.append(await stream.event())
        await stream.send_input({"type": "http.disconnect"})
        await stream.end()
        return found

    first, second = async_to_sync(watch)()

    assert (first[1]["progress"], second) == (None, ("progress", {"progress": 0.5}))


@pytest.mark.usefixtures("web_process")
def test_streams_last_while_the_database_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    job = running()
    read, calls = follow._read, []

    def fail_once(ids: list[int]) -> Any:
        calls.append(ids)
        if len(calls) == 2:
            raise OperationalError("server closed the connection unexpectedly")
        return read(ids)

    monkeypatch.setattr(follow, "_read", fail_once)

    async def watch() -> Any:
        stream = Stream(job.id)
        await stream.open()
        await stream.event()
        await in_thread(lifecycle.end, job.id, 1, JobState.SUCCEEDED)
        last = await stream.event()
        await stream.end()
        return last

    name, data = async_to_sync(watch)()

    assert (name, data["state"]) == ("job", "succeeded")
    assert len(calls) > 2


@pytest.mark.usefixtures("web_process")
def test_streams_end_with_the_process() -> None:
    job = running()

    async def watch() -> Any:
        stream = Stream(job.id)
        await stream.open()
        await stream.event()
        follow.end_streams()
        last = await stream.event()
        await stream.end()
        return last

    assert async_to_sync(watch)() is None


@pytest.mark.usefixtures("web_process")
def test_browser_that_reconnects_to_an_ended_job_gets_204() -> None:
    job = ended(JobState.SUCCEEDED)

    async def look(event_id: bytes) -> int:
        stream = Stream(job.id, (b"last-event-id", event_id))
        status, _ = await stream.open()
        await stream.end()
        return status

    assert async_to_sync(look)(str(job.event_count).encode()) == 204
    assert async_to_sync(look)(b"1") == 200


def test_unknown_job_cannot_be_followed(api: Api) -> None:
    assert problem(api.get("/jobs/77/events"))[0] == 404


# --- how often ------------------------------------------------------------------------------------


@pytest.fixture
def two_a_minute(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "_limiter", lambda: limiter)
    limiter = Limiter(per_minute=2, burst=2, clock=lambda: 0.0)


@pytest.mark.usefixtures("two_a_minute")
def test_too_many_changes_get_a_retry_after(api: Api, gpus: list[Gpu]) -> None:
    assert api.patch("/control", {"rate_per_minute": 1}).status_code == 200
    assert api.patch("/gpus/0", {"drained": True}).status_code == 200

    answer = api.patch("/control", {"rate_per_minute": 2})

    assert (problem(answer)[0], answer["Retry-After"]) == (429, "30")
    assert Control.objects.get().rate_per_minute == 1
    assert api.get("/control").status_code == 200


def test_limit_is_each_actors_own_and_refills_with_time() -> None:
    now = 0.0
    limiter = Limiter(per_minute=60, burst=2, clock=lambda: now)
    assert [limiter.wait_seconds("ada") for _ in range(3)] == [0, 0, 1]

    assert limiter.wait_seconds("eve") == 0
    now = 0.5
    assert limiter.wait_seconds("ada") == 0.5
    now = 1.0
    assert limiter.wait_seconds("ada") == 0


def test_slider_in_a_restless_hand_is_never_refused(settings: Any) -> None:
    now = 0.0
    limiter = Limiter(per_minute=settings.ENVIRONMENT.controls_per_minute, clock=lambda: now)

    waits = []
    for _ in range(4 * 600):
        now += 0.25  # the page sends one change in 250 ms at most
        waits.append(limiter.wait_seconds("ada"))

    assert set(waits) == {0}


# --- the generator --------------------------------------------------------------------------------


def test_generator_tells_its_workload_and_position(api: Api) -> None:
    found = api.get("/generator").json()

    assert (found["rate_per_minute"], found["paused"], found["seed"], found["arrivals"]) == (12, False, 7, 0)
    assert "sleep" in found["types"]
    assert found["workload"]
    assert found["shape"]
