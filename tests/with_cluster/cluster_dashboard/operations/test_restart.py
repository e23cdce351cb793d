"""A stop gives running jobs back, the next start goes on with them; nothing is forgotten and nothing is left over."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import pytest

from tests.with_cluster.api import assert_ended_once, events_of, story
from tests.with_cluster.cluster import Cluster

STOPS: dict[str, Callable[[Cluster], int]] = {
    "Ctrl-C": Cluster.press_ctrl_c,
    "SIGTERM": lambda cluster: cluster.stop(signal.SIGTERM),
}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Of this test alone."""
    with Cluster(gpus=2) as cluster:
        yield cluster


@pytest.mark.parametrize("stop", STOPS.values(), ids=STOPS.keys())
def test_jobs_go_back_at_a_stop_and_end_after_the_next_start(cluster: Cluster, stop: Callable[[Cluster], int]) -> None:
    ended_before = cluster.api.wait_for_job(cluster.api.submit_one())
    running = cluster.api.submit(count=2, params={"seconds": 5})
    for job_id in running:
        cluster.api.wait_for_job(job_id, "running")
    waiting = [cluster.api.submit_one(priority=priority) for priority in ("low", "critical")]

    exit_code = stop(cluster)

    assert exit_code == 0, cluster.tail()
    assert cluster.processes() == []
    assert not list((cluster.state_dir / "run").glob("*.pid"))
    kept = cluster.query("SELECT id, state, attempt, failures FROM scheduler_job ORDER BY id")
    assert kept == [
        (ended_before["id"], "succeeded", 1, 0),
        *((job_id, "queued", 2, 0) for job_id in running),
        *((job_id, "queued", 1, 0) for job_id in waiting),
    ]
    assert cluster.query("SELECT COUNT(*) FROM scheduler_allocation") == [(0,)]
    reasons = cluster.query("SELECT reason, charged FROM scheduler_jobevent WHERE kind = 'requeued'")
    assert reasons == [("shutdown", 0)] * 2

    cluster.start()

    assert cluster.api.job(ended_before["id"]) == ended_before
    jobs = cluster.api.wait_for_jobs([*running, *waiting])
    assert {job["state"] for job in jobs} == {"succeeded"}, "\n".join(map(story, jobs))
    for job in jobs:
        assert_ended_once(job)
    assert all(job["attempt"] == len(events_of(job, "started")) + (job["id"] in running) for job in jobs[2:])


def test_jobs_that_a_killed_cluster_held_end_after_the_next_start(cluster: Cluster) -> None:
    job_ids = cluster.api.submit(count=4, params={"seconds": 2})
    cluster.api.wait_for_event(job_ids[1], "started")

    cluster.kill_everything()
    cluster.start()

    jobs = cluster.api.wait_for_jobs(job_ids)
    assert {job["state"] for job in jobs} == {"succeeded"}, "\n".join(map(story, jobs))
    for job in jobs:
        assert_ended_once(job)


def test_controls_and_secrets_outlive_a_restart(cluster: Cluster) -> None:
    control = cluster.api.change_control(preset="light", paused=True)
    token = cluster.secret("API_TOKEN")

    cluster.stop()
    cluster.start()

    assert cluster.api.http.get("/api/control").json() == control
    assert cluster.secret("API_TOKEN") == token


def test_stop_while_it_starts_leaves_nothing() -> None:
    starting = Cluster()
    try:
        starting.launch()
        starting.wait_for_output("ready role=broker")

        exit_code = starting.stop()

        assert exit_code == 0, starting.tail()
        assert starting.processes() == []
    finally:
        starting.clean_up()


@pytest.mark.parametrize(
    ("variable", "value", "takes"),
    [
        ("GPU_COUNT", "0", "a whole number, 1 to 64"),
        ("JOB_RATE", "nan", "jobs a minute, 0.1 to 100000"),
        ("GPU_BACKEND", "cuda", "simulated, nvml or auto"),
    ],
)
def test_wrong_value_ends_the_start_and_names_the_variable(variable: str, value: str, takes: str) -> None:
    refused = Cluster(environment={variable: value})
    try:
        ended = refused.up_again()
    finally:
        refused.clean_up()

    assert ended.returncode == 2
    assert f"{variable}: '{value}' is not accepted; expected: {takes}" in ended.stdout
