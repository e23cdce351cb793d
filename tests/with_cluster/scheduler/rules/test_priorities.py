"""Priorities are strict: what waits starts by priority, then in the order in which it came."""

from __future__ import annotations

from typing import Final

from scheduler.broker import hints
from scheduler.rules.states import PRIORITY_ORDER
from tests.services import wait_until
from tests.with_cluster.api import events_of, story
from tests.with_cluster.cluster import Cluster

GPU_COUNT = 1

MIXED: Final = ("low", "normal", "critical", "high", "low", "critical", "normal", "high")


def starts_in_order(cluster: Cluster, job_ids: list[int]) -> list[int]:
    """The jobs by their start. Event ids grow in the order in which one GPU's claims are committed."""
    wanted = ", ".join(str(job_id) for job_id in job_ids)
    rows = cluster.query(
        f"SELECT job_id FROM scheduler_jobevent WHERE kind = 'started' AND job_id IN ({wanted}) ORDER BY id"
    )
    return [job_id for (job_id,) in rows]


def wait_for_hints(cluster: Cluster, count: int) -> None:
    with cluster.redis() as client:
        wait_until(lambda: sum(hints.lengths(client).values()) == count, 10, lambda: f"{hints.lengths(client)}")


def test_waiting_jobs_start_by_priority_and_then_in_the_order_they_came(cluster: Cluster) -> None:
    blocker = cluster.api.submit_one(params={"seconds": 600})
    cluster.api.wait_for_job(blocker, "running")
    came = [(cluster.api.submit_one(priority=priority), priority) for priority in MIXED * 3]
    wait_for_hints(cluster, len(came))

    cluster.api.cancel(blocker)

    cluster.api.wait_for_jobs([job_id for job_id, _ in came])
    expected = [job_id for wanted in PRIORITY_ORDER for job_id, priority in came if priority == wanted]
    assert starts_in_order(cluster, expected) == expected


def test_critical_job_overtakes_a_long_queue(cluster: Cluster) -> None:
    waiting = cluster.api.submit(priority="normal", count=20, params={"seconds": 0.2})
    cluster.api.wait_for_job(waiting[2], "running")

    critical = cluster.api.submit_one(priority="critical")

    job = cluster.api.wait_for_job(critical)
    submitted, started = (events_of(job, kind)[0]["at"] for kind in ("submitted", "started"))
    later = [events_of(other, "started")[0]["at"] for other in cluster.api.wait_for_jobs(waiting)]
    # One may have been taken in the moment in which the critical one came.
    assert sum(submitted < at < started for at in later) <= 1, story(job)
    assert sum(at > started for at in later) >= 10, story(job)
