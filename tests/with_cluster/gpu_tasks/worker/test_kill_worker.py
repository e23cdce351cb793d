"""kill -9 of a worker while it runs a job."""

from __future__ import annotations

from pytest_celery import CeleryTestWorker

from tests.services import wait_until
from tests.with_cluster.api import assert_ended_once, story
from tests.with_cluster.cluster import Cluster
from tests.with_cluster.unix_session import is_alive

GPU_COUNT = 3

#: Promised: the job runs elsewhere.
RUNS_ELSEWHERE_WITHIN_SECONDS = 12


def test_killed_worker_is_back_as_another_and_its_job_ends_elsewhere(
    cluster: Cluster, workers: list[CeleryTestWorker]
) -> None:
    job_id = cluster.api.submit_one(params={"seconds": 2})
    gpu = cluster.api.wait_for_event(job_id, "started")["gpu"]
    worker, child = workers[gpu], cluster.child_pid(gpu)
    old_pid, old_boot = worker.container.pid, worker.container.boot

    worker.kill()

    restarted = cluster.api.wait_for_event(job_id, "started", attempt=2, seconds=RUNS_ELSEWHERE_WITHIN_SECONDS)
    assert restarted["gpu"] != gpu
    assert worker.ready()
    assert not is_alive(old_pid)
    assert not is_alive(child)
    assert worker.container.pid != old_pid
    assert worker.container.boot != old_boot
    job = cluster.api.wait_for_job(job_id)
    assert (job["state"], job["attempt"], job["failures"]) == ("succeeded", 2, 1), story(job)
    assert_ended_once(job)
    worker.assert_log_exists(f"job_requeued job={job_id} ", timeout=5)


def test_worker_that_is_back_takes_jobs(cluster: Cluster, workers: list[CeleryTestWorker]) -> None:
    worker = workers[1]
    worker.kill()
    assert worker.ready()

    # One for each GPU, at once.
    job_ids = cluster.api.submit(count=GPU_COUNT, params={"seconds": 3})

    starts = [cluster.api.wait_for_event(job_id, "started", seconds=10) for job_id in job_ids]
    assert {start["gpu"] for start in starts} == set(range(GPU_COUNT))


def test_job_of_a_worker_that_was_asked_to_stop_is_requeued_without_a_charge(
    cluster: Cluster, workers: list[CeleryTestWorker]
) -> None:
    job_id = cluster.api.submit_one(params={"seconds": 5})
    worker = workers[cluster.api.wait_for_event(job_id, "started")["gpu"]]

    worker.kill("SIGTERM")

    requeued = cluster.api.wait_for_event(job_id, "requeued")
    assert (requeued["reason"], requeued["charged"]) == ("shutdown", False)
    assert worker.ready()
    job = cluster.api.wait_for_job(job_id)
    assert (job["state"], job["attempt"], job["failures"]) == ("succeeded", 2, 0), story(job)
    assert_ended_once(job)


def test_no_job_is_lost_or_done_twice_when_all_workers_die_at_once(
    cluster: Cluster, workers: list[CeleryTestWorker]
) -> None:
    job_ids = cluster.api.submit(count=30, params={"seconds": 0.4})
    for job_id in job_ids[:GPU_COUNT]:
        cluster.api.wait_for_event(job_id, "started")

    for worker in workers:
        worker.kill()

    jobs = cluster.api.wait_for_jobs(job_ids, seconds=60)
    assert {job["state"] for job in jobs} == {"succeeded"}
    for job in jobs:
        assert_ended_once(job)


def test_a_simulated_gpu_is_as_warm_under_the_next_worker(cluster: Cluster, workers: list[CeleryTestWorker]) -> None:
    def temperature_c() -> float:
        return next(gpu for gpu in cluster.api.http.get("/api/gpus").json()["gpus"] if gpu["index"] == 0)[
            "temperature_c"
        ]

    idle = temperature_c()
    cluster.api.submit(count=GPU_COUNT, params={"seconds": 60})
    hot = wait_until(lambda: (now := temperature_c()) > idle + 6 and now, 30, lambda: f"GPU 0 warms up from {idle} °C")
    before = cluster.beats()[0].boot

    workers[0].kill()

    wait_until(lambda: (beat := cluster.beats()[0]).boot != before and beat.seq > 1, 15, cluster.tail)
    # It has cooled for some seconds, with a time constant of 12 s.
    assert temperature_c() > (idle + hot) / 2
