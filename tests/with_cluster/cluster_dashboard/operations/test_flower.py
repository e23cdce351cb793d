"""Flower: behind its password, and shows the jobs by type."""

from __future__ import annotations

import socket
from typing import Any

import httpx
import pytest

from tests.services import wait_until
from tests.with_cluster.cluster import Cluster


def test_flower_answers_nobody_without_the_password(cluster: Cluster) -> None:
    url = f"http://localhost:{cluster.flower_port}"

    assert httpx.get(f"{url}/workers").status_code == 401
    assert httpx.get(f"{url}/tasks", auth=("admin", "wrong")).status_code == 401


@pytest.mark.parametrize(
    "order",
    [
        "worker/shutdown/{worker}",
        "worker/queue/cancel-consumer/{worker}?queue=high",
        "task/async-apply/gpu_tasks.sleep",
        "task/revoke/an-id?terminate=true",
    ],
)
def test_flower_s_password_gives_no_orders(cluster: Cluster, order: str) -> None:
    with flower_of(cluster) as flower:
        wait_until(lambda: "gpu-0" in workers(flower), 30, lambda: str(workers(flower)))
        worker = f"gpu-0@{socket.gethostname()}"

        refused = flower.post(f"/api/{order.format(worker=worker)}")

    assert (refused.status_code, refused.text) == (403, "Read only mode is enabled")


def test_flower_shows_jobs_by_type_and_failed_ones_as_failed(cluster: Cluster) -> None:
    done, failed = cluster.api.submit_one("sleep"), cluster.api.submit_one("fault_injection", params={"mode": "raise"})
    cluster.api.wait_for_jobs([done, failed])
    with flower_of(cluster) as flower:

        def both() -> bool:
            text = metrics(flower)
            return (
                'task="gpu_tasks.sleep",type="task-succeeded"' in text
                and 'task="gpu_tasks.fault_injection",type="task-failed"' in text
            )

        wait_until(both, 20, lambda: metrics(flower))


def test_flower_shows_every_living_worker_online(cluster: Cluster) -> None:
    expected = {"scheduler", "gpu-0", "gpu-1"}

    with flower_of(cluster) as flower:
        # Two heartbeats: no worker counts as online for its first event alone.
        wait_until(
            lambda: {name for name, worker in workers(flower).items() if worker["heartbeats"] >= 2} == expected,
            60,
            lambda: str(workers(flower)),
        )
        assert {name for name, worker in workers(flower).items() if worker["status"]} == expected


def test_ticks_of_the_scheduler_do_not_bury_jobs(cluster: Cluster) -> None:
    with flower_of(cluster) as flower:
        job = cluster.api.submit_one("sleep")
        cluster.api.wait_for_job(job)
        wait_until(lambda: flower.get("/api/tasks").json(), 20, "Flower shows the job")

        shown = {task["name"] for task in flower.get("/api/tasks").json().values()}
        assert {name.split(".")[0] for name in shown} == {"gpu_tasks"}


def flower_of(cluster: Cluster) -> httpx.Client:
    return httpx.Client(
        base_url=f"http://localhost:{cluster.flower_port}", auth=("admin", cluster.secret("FLOWER_PASSWORD"))
    )


def workers(flower: httpx.Client) -> dict[str, Any]:
    """By name without the host: status (online?), and how many heartbeats Flower remembers."""
    shown = flower.get("/workers", params={"json": "1"}).json()["data"]
    return {
        worker["hostname"].partition("@")[0]: {
            "status": worker["status"],
            "heartbeats": len(worker.get("heartbeats", ())),
        }
        for worker in shown
    }


def metrics(flower: httpx.Client) -> str:
    return flower.get("/metrics").text
