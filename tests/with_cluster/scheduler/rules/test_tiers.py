"""GPUs that differ in memory: each job runs where it fits, at the first try."""

from __future__ import annotations

from collections import Counter

import httpx

from scheduler.broker import hints
from scheduler.rules.queues import PLAIN_QUEUES
from tests.services import wait_until
from tests.with_cluster.api import events_of, story
from tests.with_cluster.cluster import Cluster

GPU_COUNT = 3
LARGE, SMALL = 0, {1, 2}
ENVIRONMENT = {"GPU_MEMORY_GIB": "80,40,40"}

BIG = {"memory_mib": 60_000}


def given_back(cluster: Cluster) -> int:
    """Hints that a worker could not follow."""
    paths = [cluster.log_path(f"gpu-{gpu}") for gpu in range(GPU_COUNT)]
    logs = [path.read_text() for path in paths if path.exists()]
    return sum(log.count("hint_returned") + log.count("hint_dropped") for log in logs)


def queues_read(flower: httpx.Client) -> dict[int, set[str]]:
    """What each GPU's worker reads, as Flower shows it."""
    workers = flower.get("/api/workers", params={"refresh": "1"}).json()
    return {
        gpu: {
            queue["name"]
            for name, worker in workers.items()
            if name.startswith(f"gpu-{gpu}@")
            for queue in worker.get("active_queues", ())
        }
        for gpu in range(GPU_COUNT)
    }


def test_each_worker_reads_the_tiers_that_fit_and_flower_shows_them(cluster: Cluster) -> None:
    auth = ("admin", cluster.secret("FLOWER_PASSWORD"))
    plain = set(PLAIN_QUEUES)
    expected = {LARGE: plain | {f"{name}.80g" for name in plain}, **dict.fromkeys(SMALL, plain)}

    with httpx.Client(base_url=f"http://localhost:{cluster.flower_port}", auth=auth, timeout=20) as flower:
        wait_until(lambda: queues_read(flower) == expected, 30, lambda: f"{queues_read(flower)}")
        assert "normal.80g" in flower.get("/broker").text


def test_big_jobs_run_on_the_big_gpu_and_small_ones_everywhere_at_the_first_try(cluster: Cluster) -> None:
    before = given_back(cluster)
    big = cluster.api.submit(count=5, params={"seconds": 0.2, **BIG})
    small = cluster.api.submit(count=40, params={"seconds": 0.2})

    jobs = {job["id"]: job for job in cluster.api.wait_for_jobs([*big, *small])}

    assert {job["state"] for job in jobs.values()} == {"succeeded"}
    assert {jobs[job_id]["gpu"] for job_id in big} == {LARGE}
    assert {jobs[job_id]["gpu"] for job_id in small} >= SMALL, Counter(jobs[job_id]["gpu"] for job_id in small)
    assert given_back(cluster) == before


def test_small_jobs_do_not_keep_a_big_one_from_the_big_gpu(cluster: Cluster) -> None:
    small = cluster.api.submit(count=120, params={"seconds": 0.2})
    cluster.api.wait_for_job(small[5], "running")

    big = cluster.api.submit_one(params={"seconds": 0, **BIG})

    job = cluster.api.wait_for_job(big)
    started = events_of(job, "started")[0]["at"]
    later = [events_of(other, "started")[0]["at"] for other in cluster.api.wait_for_jobs(small, seconds=60)]
    assert sum(at > started for at in later) >= 60, story(job)


def test_a_higher_priority_comes_before_a_larger_tier(cluster: Cluster) -> None:
    blockers = [cluster.api.submit_one(params={"seconds": 600}) for _ in range(GPU_COUNT)]
    for blocker in blockers:
        cluster.api.wait_for_job(blocker, "running")
    of_large = next(blocker for blocker in blockers if cluster.api.job(blocker)["gpu"] == LARGE)
    low = cluster.api.submit_one(priority="low", params={"seconds": 0, **BIG})
    high = [cluster.api.submit_one(priority="high") for _ in range(3)]
    with cluster.redis() as client:
        wait_until(lambda: sum(hints.lengths(client).values()) == 4, 10, lambda: f"{hints.lengths(client)}")

    cluster.api.cancel(of_large)

    starts = [events_of(job, "started")[0]["at"] for job in cluster.api.wait_for_jobs([*high, low])]
    assert starts == sorted(starts)
