"""kill -9 of each process that is not a GPU worker: it comes back, and nothing that waited or ran is lost."""

from __future__ import annotations

import httpx
import pytest

from tests.services import wait_until
from tests.with_cluster.api import assert_ended_once, story
from tests.with_cluster.cluster import Cluster

BACK_WITHIN_SECONDS = 10


def generated(cluster: Cluster) -> int:
    return int(cluster.query("SELECT COUNT(*) FROM scheduler_job WHERE source = 'generator'")[0][0])


@pytest.mark.parametrize("role", ["scheduler", "beat", "web", "flower", "broker"])
def test_jobs_go_on_when_a_process_is_killed(cluster: Cluster, role: str) -> None:
    running = cluster.api.submit_one(params={"seconds": 2.5})
    cluster.api.wait_for_job(running, "running")
    waiting = cluster.api.submit(count=10, params={"seconds": 0.1})

    old_pid = cluster.kill(role)

    cluster.wait_for_successor(role, old_pid, seconds=BACK_WITHIN_SECONDS)
    wait_until(cluster.api.is_ready, BACK_WITHIN_SECONDS, cluster.tail)
    later = cluster.api.submit_one()
    jobs = cluster.api.wait_for_jobs([running, *waiting, later], seconds=30)
    # Nobody's worker died: no attempt is taken back, no failure charged.
    assert {(job["state"], job["attempt"]) for job in jobs} == {("succeeded", 1)}, "\n".join(map(story, jobs))
    for job in jobs:
        assert_ended_once(job)


@pytest.mark.parametrize("role", ["scheduler", "beat", "broker"])
def test_generator_goes_on_when_a_process_it_needs_is_killed(cluster: Cluster, role: str) -> None:
    old_pid = cluster.kill(role)
    cluster.wait_for_successor(role, old_pid, seconds=BACK_WITHIN_SECONDS)
    wait_until(cluster.api.is_ready, BACK_WITHIN_SECONDS, cluster.tail)
    before = generated(cluster)

    cluster.api.change_control(rate_per_minute=600, paused=False)

    wait_until(lambda: generated(cluster) > before, BACK_WITHIN_SECONDS, cluster.tail)


def test_flower_answers_again_and_still_asks_for_its_password(cluster: Cluster) -> None:
    old_pid = cluster.kill("flower")
    cluster.wait_for_successor("flower", old_pid, seconds=BACK_WITHIN_SECONDS)
    url = f"http://localhost:{cluster.flower_port}/"

    def status(auth: tuple[str, str] | None) -> int | None:
        try:
            return httpx.get(url, auth=auth).status_code
        except httpx.TransportError:
            return None

    signed_in = ("admin", cluster.secret("FLOWER_PASSWORD"))
    wait_until(lambda: status(signed_in) == 200, BACK_WITHIN_SECONDS, cluster.tail)
    assert status(None) == 401


def test_killed_supervisor_is_replaced_and_all_jobs_end(cluster: Cluster) -> None:
    job_ids = cluster.api.submit(count=10, params={"seconds": 1})
    cluster.api.wait_for_event(job_ids[0], "started")
    before = {process.pid for process in cluster.processes()}
    guardian = cluster.guardian_pid

    old_pid = cluster.kill("up")

    cluster.wait_for_successor("up", old_pid, seconds=BACK_WITHIN_SECONDS)
    jobs = cluster.api.wait_for_jobs(job_ids, seconds=60)
    assert {job["state"] for job in jobs} == {"succeeded"}, "\n".join(map(story, jobs))
    for job in jobs:
        assert_ended_once(job)
    assert before & {process.pid for process in cluster.processes()} == {guardian}
