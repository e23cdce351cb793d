"""A real Prometheus with the project's own configuration, beside a cluster under load: what Grafana's panels and the
alert rules ask for is there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from scheduler.broker.hints import queue_key
from tests.conftest import program
from tests.services import wait_until
from tests.unit.docker.test_alerts import ALERTS
from tests.unit.docker.test_docker_files import DASHBOARDS, MONITORING, names_of_series, read_yaml
from tests.with_cluster.cluster import Cluster, free_ports

#: More than two GPUs can do: jobs wait.
ENVIRONMENT = {"JOB_RATE": "300"}
#: Five scrapes, and a machine that has other tests to run.
SOON_SECONDS = 60

PANELS = [
    pytest.param(target, id=f"{path.stem}: {panel['title']} {target['refId']}")
    for path in DASHBOARDS
    for panel in json.loads(path.read_text())["panels"]
    for target in panel["targets"]
]
#: What the panels of NVIDIA's dashboard for its DCGM exporter ask for, each GPU's series; %s: its filters. Its panel of
#: tensor cores asks for a value that only DCGM's profiling knows.
DASHBOARD_12239 = (
    "DCGM_FI_DEV_GPU_TEMP%s",
    "DCGM_FI_DEV_POWER_USAGE%s",
    "DCGM_FI_DEV_SM_CLOCK%s * 1000000",
    "DCGM_FI_DEV_GPU_UTIL%s",
    "DCGM_FI_DEV_FB_USED%s",
)
SERIES_OF_ALERTS = sorted(names_of_series((MONITORING / "alerts.yml").read_text()))


class Prometheus:
    def __init__(self, path: str, folder: Path, target: str) -> None:
        """On a copy of the configuration in which the target alone is another one."""
        self._path = path
        self.log = folder / "log"
        self._folder = folder
        text = (MONITORING / "prometheus.yml").read_text()
        assert text.count('"web:8080"') == 1
        (folder / "prometheus.yml").write_text(text.replace("web:8080", target))
        shutil.copy(MONITORING / "alerts.yml", folder)
        [port] = free_ports(1)
        self._address = f"127.0.0.1:{port}"
        self._http = httpx.Client(base_url=f"http://{self._address}", timeout=10)

    def __enter__(self) -> Prometheus:
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    self._path,
                    f"--config.file={self._folder}/prometheus.yml",
                    f"--storage.tsdb.path={self._folder}/data",
                    f"--web.listen-address={self._address}",
                ],
                stdout=log,
                stderr=log,
            )
        wait_until(self._is_ready, 30, self.log.read_text)
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()
        self._process.terminate()
        self._process.wait(30)

    def ask(self, path: str, **params: str) -> Any:
        answer = self._http.get(f"/api/v1/{path}", params=params)
        body = answer.json()
        assert (answer.status_code, body["status"], body.get("warnings")) == (200, "success", None), body
        return body["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        return self.ask("query", query=expression)["result"]

    def wait_for(self, expression: str) -> list[dict[str, Any]]:
        return wait_until(lambda: self.query(expression), SOON_SECONDS, f"{expression} gives something")

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, self.log.read_text()
        try:
            return self._http.get("/-/ready").status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture(scope="module")
def installed() -> str:
    """Asked for first: without it no cluster is started."""
    return program("prometheus")


@pytest.fixture(scope="module")
def prometheus(
    installed: str, running_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    with Prometheus(installed, folder, f"localhost:{running_cluster.web_port}") as server:
        server.wait_for('up{job="gpu-cluster"} == 1')
        yield server


def test_every_target_is_up(prometheus: Prometheus) -> None:
    [target] = prometheus.ask("targets")["activeTargets"]

    assert (target["health"], target["lastError"]) == ("up", "")
    assert target["scrapeUrl"].endswith("/metrics")


def test_every_rule_is_evaluated_without_an_error(prometheus: Prometheus) -> None:
    def evaluated() -> list[dict[str, Any]] | None:
        rules = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
        return rules if all(rule["health"] != "unknown" for rule in rules) else None

    rules = wait_until(evaluated, SOON_SECONDS, "each rule was evaluated")

    assert [(rule["name"], rule["health"], rule.get("lastError")) for rule in rules] == [
        (alert, "ok", None) for alert in ALERTS
    ]


@pytest.mark.parametrize("name", SERIES_OF_ALERTS)
def test_an_alert_s_series_is_there(prometheus: Prometheus, name: str) -> None:
    assert prometheus.wait_for(name)


@pytest.mark.parametrize("target", PANELS)
def test_a_panel_shows_data_with_the_labels_of_its_legend(prometheus: Prometheus, target: dict[str, str]) -> None:
    series = prometheus.wait_for(target["expr"])

    assert all(each["value"][1] not in {"NaN", "+Inf", "-Inf"} for each in series)
    labels = {label for each in series for label in each["metric"]}
    # No job may have failed yet: then nothing has a reason.
    assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) - {"reason"} <= labels


@pytest.mark.parametrize("expression", DASHBOARD_12239)
def test_nvidia_s_dashboard_12239_shows_each_gpu(prometheus: Prometheus, expression: str) -> None:
    filters = '{instance=~"(localhost:.*)", gpu=~"(0|1)"}'

    series = prometheus.wait_for(expression % filters)

    assert {each["metric"]["gpu"] for each in series} == {"0", "1"}


def test_the_first_failure_for_a_reason_is_an_increase(prometheus: Prometheus, running_cluster: Cluster) -> None:
    series = 'gpu_cluster_attempts_ended_total{outcome="failed",reason="timed_out"}'
    prometheus.wait_for(f"{series} == 0")
    running_cluster.api.submit_one(params={"seconds": 600}, time_limit_seconds=1, priority="critical")

    [increase] = prometheus.wait_for(f"increase({series}[2m]) > 0")

    assert float(increase["value"][1]) >= 1


def test_panels_ask_the_datasource_that_is_provisioned() -> None:
    [source] = read_yaml(MONITORING / "grafana/provisioning/datasources/prometheus.yml")["datasources"]
    panels = [panel for path in DASHBOARDS for panel in json.loads(path.read_text())["panels"]]

    assert {panel["datasource"]["uid"] for panel in panels} == {source["uid"]}


def test_a_dead_letter_fires_its_alert_and_no_other(prometheus: Prometheus, running_cluster: Cluster) -> None:
    prometheus.wait_for("gpu_cluster_dead_letters_total == 0")
    with running_cluster.redis() as redis:
        redis.lpush(queue_key("low"), b"not ours")
    running_cluster.settle()

    def firing() -> list[dict[str, Any]]:
        return [alert for alert in prometheus.ask("alerts")["alerts"] if alert["state"] == "firing"]

    try:
        [alert] = wait_until(firing, SOON_SECONDS, lambda: str(prometheus.ask("alerts")))
    finally:
        # The tests that come after this one want jobs that wait.
        running_cluster.api.change_control(paused=False)

    assert alert["labels"]["alertname"] == "DeadLetters"
    assert alert["annotations"] == {
        "summary": "The broker receives messages that this cluster did not send or that are malformed"
    }
