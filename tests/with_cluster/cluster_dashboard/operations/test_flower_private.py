"""Flower where the page is not public: its /metrics asks for the password too."""

from __future__ import annotations

import httpx

from tests.with_cluster.cluster import Cluster

ENVIRONMENT = {"PUBLIC_READ": "false"}


def test_flower_s_metrics_need_the_password_and_its_health_check_does_not(cluster: Cluster) -> None:
    url = f"http://localhost:{cluster.flower_port}"

    assert httpx.get(f"{url}/metrics").status_code == 401
    assert httpx.get(f"{url}/metrics", auth=("admin", cluster.secret("FLOWER_PASSWORD"))).status_code == 200
    assert httpx.get(f"{url}/healthcheck").text == "OK"
