"""Flower: behind its password, and shows the jobs by type."""

from __future__ import annotations

import httpx

from tests.services import wait_until
from tests.with_cluster.cluster import Cluster


def test_flower_answers_nobody_without_the_password(cluster: Cluster) -> None:
    url = f"http://localhost:{cluster.flower_port}"

    assert httpx.get(f"{url}/workers").status_code == 401
    assert httpx.get(f"{url}/tasks", auth=("admin", "wrong")).status_code == 401


def test_flower_shows_jobs_by_type_and_failed_ones_as_failed(cluster: Cluster) -> None:
    done, failed = cluster.api.submit_one("sleep"), cluster.api.submit_one("fault_injection", params={"mode": "raise"})
    cluster.api.wait_for_jobs([done, failed])
    flower = httpx.Client(
        base_url=f"http://localhost:{cluster.flower_port}", auth=("admin", cluster.secret("FLOWER_PASSWORD"))
    )

    with flower:

        def both() -> bool:
            text = metrics(flower)
            return (
                'task="gpu_tasks.sleep",type="task-succeeded"' in text
                and 'task="gpu_tasks.fault_injection",type="task-failed"' in text
            )

        wait_until(both, 20, lambda: metrics(flower))


def metrics(flower: httpx.Client) -> str:
    return flower.get("/metrics").text
