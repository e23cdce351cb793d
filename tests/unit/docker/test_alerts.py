"""The alert rules, checked by promtool; docker/monitoring/alerts_test.yml holds when each one fires."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.conftest import program
from tests.unit.docker.test_docker_files import MONITORING, read_yaml

ALERTS = [rule["alert"] for group in read_yaml(MONITORING / "alerts.yml")["groups"] for rule in group["rules"]]


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [program("promtool"), *arguments]
    return subprocess.run(command, cwd=MONITORING, capture_output=True, text=True, timeout=60, check=False)


def test_prometheus_accepts_its_configuration_and_the_rules() -> None:
    checked = promtool("check", "config", "prometheus.yml")

    assert checked.returncode == os.EX_OK, checked.stderr
    assert f"{len(ALERTS)} rules found" in checked.stdout


def test_alerts_fire_on_their_cause_only() -> None:
    tested = promtool("test", "rules", "alerts_test.yml")

    assert tested.returncode == os.EX_OK, tested.stdout + tested.stderr


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_has_a_case_with_and_one_without_it(alert: str) -> None:
    cases = [
        case
        for test in read_yaml(MONITORING / "alerts_test.yml")["tests"]
        for case in test["alert_rule_test"]
        if case["alertname"] == alert
    ]

    assert {bool(case["exp_alerts"]) for case in cases} == {True, False}
