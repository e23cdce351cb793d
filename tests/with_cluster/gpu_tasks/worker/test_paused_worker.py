"""A worker that is paused (SIGSTOP) for too long is taken for dead. What it does when it wakes up changes nothing."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pytest_celery import CeleryTestWorker

from tests.services import wait_until
from tests.with_cluster.api import Job, assert_ended_once, story
from tests.with_cluster.cluster import Cluster
from tests.with_cluster.unix_session import is_alive, is_stopped

#: Promised: known dead, and running elsewhere.
KNOWN_DEAD_WITHIN_SECONDS, RUNS_ELSEWHERE_WITHIN_SECONDS = 10, 12


@contextmanager
def paused(*pids: int) -> Iterator[None]:
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: all(is_stopped(pid) for pid in pids), 5, f"{pids} are stopped")
        yield
    finally:
        resume(*pids)


def resume(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def refused_commits(cluster: Cluster) -> int:
    rows = cluster.query("SELECT COALESCE(SUM(n), 0) FROM scheduler_tally WHERE word = 'commit_refused'")
    return int(rows[0][0])


def wait_until_it_ended_elsewhere(cluster: Cluster, job_id: int) -> Job:
    """Call it when the worker has just been paused."""
    runs_elsewhere_by = time.monotonic() + RUNS_ELSEWHERE_WITHIN_SECONDS
    requeued = cluster.api.wait_for_event(job_id, "requeued", seconds=KNOWN_DEAD_WITHIN_SECONDS)
    assert (requeued["reason"], requeued["charged"]) == ("worker_died", True)
    cluster.api.wait_for_event(job_id, "started", attempt=2, seconds=runs_elsewhere_by - time.monotonic())
    return cluster.api.wait_for_job(job_id)


def test_late_finish_of_a_paused_worker_is_refused(cluster: Cluster, workers: list[CeleryTestWorker]) -> None:
    before = refused_commits(cluster)
    children = [cluster.child_pid(worker.container.gpu) for worker in workers]
    job_id = cluster.api.submit_one(params={"seconds": 2})
    gpu = cluster.api.wait_for_event(job_id, "started")["gpu"]
    worker, child = workers[gpu], children[gpu]
    with paused(child, worker.container.pid):
        ended = wait_until_it_ended_elsewhere(cluster, job_id)
        assert (ended["state"], ended["attempt"]) == ("succeeded", 2), story(ended)
        assert ended["gpu"] != gpu

        # The child alone: its time is over, and it finishes before its worker could stop it.
        resume(child)

        worker.assert_log_exists("commit_refused", timeout=10)

    assert refused_commits(cluster) == before + 1
    job = cluster.api.job(job_id)
    assert job == ended, story(job)
    assert_ended_once(job)
    next_jobs = cluster.api.wait_for_jobs(cluster.api.submit(count=10, params={"seconds": 0.3}))
    assert {next_job["gpu"] for next_job in next_jobs} == set(range(cluster.gpu_count))


def test_paused_worker_that_wakes_up_stops_the_job_it_has_lost(
    cluster: Cluster, workers: list[CeleryTestWorker]
) -> None:
    job_id = cluster.api.submit_one(params={"seconds": 20})
    gpu = cluster.api.wait_for_event(job_id, "started")["gpu"]
    worker, child = workers[gpu], cluster.child_pid(gpu)
    with paused(worker.container.pid):
        cluster.api.wait_for_event(job_id, "requeued", seconds=KNOWN_DEAD_WITHIN_SECONDS)

    worker.assert_log_exists("claim_lost", timeout=5)
    wait_until(lambda: not is_alive(child), 5, lambda: f"{child} ends\n{cluster.shown()}")
    job = cluster.api.job(job_id)
    assert job["failures"] == 1, story(job)
    assert cluster.api.wait_for_event(job_id, "started", attempt=2, seconds=10)["gpu"] != gpu
