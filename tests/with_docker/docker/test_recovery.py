"""Whatever dies comes back by itself, and no job is lost: each in the compose project as it is deployed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import pytest

from tests.services import wait_until
from tests.with_cluster.api import Api, Event, assert_ended_once, events_of, story
from tests.with_docker.project import Project, docker, note_figure

#: Known dead after 10 s, running elsewhere after 12 (reliability), and what a loaded machine takes on top.
ELSEWHERE_SECONDS = 30
CUT_SECONDS = 30


@pytest.mark.parametrize("service", ["scheduler", "beat", "web", "flower", "redis", "postgres"])
def test_a_killed_service_is_back_and_jobs_go_on(project: Project, api: Api, service: str) -> None:
    before = api.submit_one("sleep", params={"seconds": 3})
    api.wait_for_job(before, "running", "succeeded")

    seconds = project.kill_main(service)
    note_figure("back after kill -9", service=service, seconds=round(seconds, 1))

    after = wait_until(lambda: submitted(api), 30, project.tail)
    for job in api.wait_for_jobs([before, after], seconds=60):
        assert job["state"] == "succeeded", story(job)
        assert_ended_once(job)


def test_a_frozen_web_process_is_ended_by_its_health_check(project: Project, api: Api) -> None:
    before = project.inspect("web")["RestartCount"]

    project.exec("web", "sh", "-c", "kill -STOP $(cat /var/lib/gpu-cluster/run/web.pid)")

    wait_until(lambda: project.inspect("web")["RestartCount"] > before, 120, project.tail)
    project.wait_for_health("web")
    assert api.is_ready()


def submitted(api: Api) -> int | None:
    """A job's id; None while the cluster refuses."""
    answer = api.http.post("/api/jobs", json={"type": "sleep", "params": {"seconds": 0}})
    return answer.json()["ids"][0] if answer.is_success else None


def test_a_killed_worker_s_job_runs_again_and_the_worker_is_back(project: Project, api: Api) -> None:
    job_id = api.submit_one("sleep", params={"seconds": 8})
    gpu = api.wait_for_job(job_id, "running")["gpu"]

    seconds = project.kill_main(f"gpu-{gpu}")
    note_figure("back after kill -9", service="gpu", seconds=round(seconds, 1))

    job = api.wait_for_job(job_id, seconds=90)
    assert job["state"] == "succeeded", story(job)
    assert job["failures"] == 1, story(job)
    assert_ended_once(job)


def test_a_worker_cut_off_loses_its_job_to_another_and_its_late_result_is_refused(project: Project, api: Api) -> None:
    refused_before = refused_commits(project)
    job_id = api.submit_one("sleep", params={"seconds": 4})
    started = api.wait_for_event(job_id, "started")
    worker = f"gpu-{started['gpu']}"

    with cut_off(project, worker):
        # It ends its job meanwhile, and keeps the result.
        requeued = api.wait_for_event(job_id, "requeued", seconds=ELSEWHERE_SECONDS)
        elsewhere = api.wait_for_event(job_id, "started", attempt=2, seconds=ELSEWHERE_SECONDS)
        job = api.wait_for_job(job_id, seconds=60)

    reconnected = time.monotonic()
    wait_until(lambda: refused_commits(project) > refused_before, 60, lambda: f"a refusal\n{project.tail()}")
    wait_until(lambda: runs_on(api, started["gpu"]), 90, lambda: f"{worker} takes a job again\n{project.tail()}")
    note_figure(
        "network cut",
        requeued_s=seconds_between(started, requeued),
        elsewhere_s=seconds_between(started, elsewhere),
        rejoined_s=round(time.monotonic() - reconnected, 1),
    )
    assert elsewhere["gpu"] != started["gpu"], story(job)
    assert job["state"] == "succeeded", story(job)
    assert api.job(job_id) == job, "the late result changed nothing"
    assert_ended_once(job)


@contextmanager
def cut_off(project: Project, service: str) -> Iterator[None]:
    """Without any network for CUT_SECONDS, or until the body ends."""
    until = time.monotonic() + CUT_SECONDS
    project.network("disconnect", service)
    try:
        yield
        wait_until(lambda: time.monotonic() > until, CUT_SECONDS + 1)
    finally:
        project.network("connect", service)


def refused_commits(project: Project) -> int:
    return json.loads(project.manage("verify", "--json", check=False).stdout)["refused_commits"]


def seconds_between(earlier: Event, later: Event) -> float:
    return (datetime.fromisoformat(later["at"]) - datetime.fromisoformat(earlier["at"])).total_seconds()


def runs_on(api: Api, gpu: int) -> int | None:
    """A job's id that this GPU took."""
    ids = api.submit("sleep", count=4, params={"seconds": 0.2})
    taken = [job["id"] for job in api.wait_for_jobs(ids, seconds=60) if job["gpu"] == gpu]
    return taken[0] if taken else None


@pytest.mark.parametrize("service", ["redis", "postgres"])
def test_a_restarted_server_loses_nothing(project: Project, api: Api, service: str) -> None:
    ids = api.submit("sleep", count=6, params={"seconds": 1})

    project.compose("restart", service)
    project.wait_for_health(service)

    for job in api.wait_for_jobs(ids, seconds=90):
        assert job["state"] == "succeeded", story(job)
        assert_ended_once(job)


def test_a_stop_gives_running_jobs_back_without_a_charge(project: Project, api: Api) -> None:
    job_id = api.submit_one("sleep", params={"seconds": 20})
    api.wait_for_job(job_id, "running")

    project.compose("stop", "gpu-0", "gpu-1")

    stopped = api.job(job_id)
    project.up()
    assert (stopped["state"], stopped["failures"]) == ("queued", 0), story(stopped)
    assert [event["reason"] for event in events_of(stopped, "requeued")] == ["shutdown"]
    assert api.wait_for_job(job_id, seconds=90)["state"] == "succeeded"


def test_down_and_up_keep_the_history(project: Project, api: Api) -> None:
    job_id = api.submit_one("sleep")
    before = api.wait_for_job(job_id)
    token = project.secret("web", "api_token")

    project.down()
    note_figure("up warm", seconds=round(project.up(), 1))

    with_same_token = Api(f"http://127.0.0.1:{project.web_port}", token)
    assert with_same_token.job(job_id) == before
    with_same_token.close()


def test_a_restart_of_the_engine_s_containers_in_any_order_ends_well(project: Project, api: Api) -> None:
    """A host that boots starts every container at once, whatever depends on what."""
    job_id = api.submit_one("sleep", params={"seconds": 5})
    everything = project.compose("ps", "-q").stdout.split()

    docker("restart", "--time", "10", *everything)

    for service in ("redis", "postgres", *project.services):
        project.wait_for_health(service, 120)
    assert api.wait_for_job(job_id, seconds=90)["state"] == "succeeded"
