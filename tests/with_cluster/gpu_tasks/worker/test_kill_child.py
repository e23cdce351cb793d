"""kill -9 of a worker's child while it runs a job."""

from __future__ import annotations

import os
import signal

from pytest_celery import CeleryTestWorker

from tests.services import wait_until
from tests.with_cluster.api import assert_ended_once, events_of, story
from tests.with_cluster.cluster import Cluster
from tests.with_cluster.unix_session import is_alive

#: Promised: the job is queued again.
REQUEUED_WITHIN_SECONDS = 2


def test_job_of_a_killed_child_is_requeued_and_ends_elsewhere(
    cluster: Cluster, workers: list[CeleryTestWorker]
) -> None:
    children = [cluster.child_pid(worker.container.gpu) for worker in workers]
    job_id = cluster.api.submit_one(params={"seconds": 2})
    gpu = cluster.api.wait_for_event(job_id, "started")["gpu"]

    os.kill(children[gpu], signal.SIGKILL)

    requeued = cluster.api.wait_for_event(job_id, "requeued", seconds=REQUEUED_WITHIN_SECONDS)
    assert (requeued["reason"], requeued["charged"]) == ("child_died", True)
    job = cluster.api.wait_for_job(job_id)
    assert (job["state"], job["attempt"], job["failures"]) == ("succeeded", 2, 1), story(job)
    assert job["gpu"] != gpu, story(job)
    assert_ended_once(job)
    workers[gpu].assert_log_exists("child_died", timeout=5)


def test_a_job_is_left_to_a_gpu_that_is_busy_for_a_moment_and_then_comes_first(
    cluster: Cluster, workers: list[CeleryTestWorker]
) -> None:
    blocker = cluster.api.submit_one(params={"seconds": 600})
    cluster.api.wait_for_job(blocker, "running")
    job_id = cluster.api.submit_one(params={"seconds": 1})
    gpu = cluster.api.wait_for_event(job_id, "started")["gpu"]
    log, returned = workers[gpu].container, f"hint_returned job={job_id} "

    os.kill(cluster.child_pid(gpu), signal.SIGKILL)
    wait_until(lambda: returned in log.logs(), 10, log.logs)
    behind = cluster.api.submit(count=3)

    job, *others = cluster.api.wait_for_jobs([job_id, *behind])
    again = events_of(job, "started", attempt=2)[0]
    assert again["gpu"] == gpu, story(job)
    assert again["at"] < min(events_of(other, "started")[0]["at"] for other in others), story(job)
    assert log.logs().count(returned) == 1


def test_worker_gets_a_new_child_and_takes_jobs_again(cluster: Cluster, workers: list[CeleryTestWorker]) -> None:
    node = workers[0].container
    boot, child = node.boot, cluster.child_pid(0)

    os.kill(child, signal.SIGKILL)

    # As many as there are GPUs: they run at once, one on each.
    job_ids = cluster.api.submit(count=cluster.gpu_count, params={"seconds": 3})
    starts = [cluster.api.wait_for_event(job_id, "started", seconds=10) for job_id in job_ids]
    assert {start["gpu"] for start in starts} == set(range(cluster.gpu_count))
    assert not is_alive(child)
    assert cluster.child_pid(0) != child
    node.reload()
    assert node.boot == boot
    assert {job["state"] for job in cluster.api.wait_for_jobs(job_ids)} == {"succeeded"}


def test_idle_child_that_dies_costs_no_job(cluster: Cluster) -> None:
    for gpu in range(cluster.gpu_count):
        os.kill(cluster.child_pid(gpu), signal.SIGKILL)

    jobs = cluster.api.wait_for_jobs(cluster.api.submit(count=20))

    assert {job["state"] for job in jobs} == {"succeeded"}
    for job in jobs:
        assert_ended_once(job)
        assert len(events_of(job, "started")) <= 2, story(job)
