"""Django's own check of a deployment, on the settings that each kind of deployment gives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.project import ROOT
from tests.with_cluster.cluster import clean_environment

SECRET = "x" * 25 + "abcdefghijklmnopqrstuvwxyz0123456789"


def check_deploy(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=ROOT,
        env={**clean_environment(), "STATE_DIR": str(folder), "SECRET_KEY": SECRET, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "variables",
    [{}, {"HTTPS": "true", "ALLOWED_HOSTS": "gpus.example.org"}],
    ids=["on this machine alone", "behind a proxy that speaks TLS"],
)
def test_a_deployment_is_clean(tmp_path: Path, variables: dict[str, str]) -> None:
    checked = check_deploy(tmp_path, **variables)

    assert checked.returncode == os.EX_OK, checked.stderr


def test_an_open_door_that_was_asked_for_is_named(tmp_path: Path) -> None:
    network = {"BIND_HOST": "0.0.0.0", "HTTPS": "true", "ALLOWED_HOSTS": "gpus.example.org"}

    closed = check_deploy(tmp_path, **network)
    opened = check_deploy(tmp_path, **network, PUBLIC_READ="true", FLOWER_CONTROL="true")

    assert closed.returncode == os.EX_OK, closed.stderr
    assert "gpu_cluster.W001" in opened.stderr
    assert "gpu_cluster.W002" in opened.stderr


def test_a_name_in_the_network_without_https_is_warned_about(tmp_path: Path) -> None:
    checked = check_deploy(tmp_path, ALLOWED_HOSTS="gpus.example.org")

    assert checked.returncode != os.EX_OK
    assert "security.W012" in checked.stderr


ASK = """\
import django; django.setup()
from django.test import Client
for path, forwarded in (("/healthz", ""), ("/admin/login/", ""), ("/static/web/favicon.svg", "https")):
    headers = {"X-Forwarded-Proto": forwarded} if forwarded else {}
    answer = Client().get(path, headers={"Host": "gpus.example.org", **headers})
    print(answer.status_code, answer.headers.get("Location", "-"), "Strict-Transport-Security" in answer.headers)
"""


def test_https_is_asked_for_except_by_health_checks(tmp_path: Path) -> None:
    variables = {"STATE_DIR": str(tmp_path), "SECRET_KEY": SECRET, "HTTPS": "true", "ALLOWED_HOSTS": "gpus.example.org"}
    asked = subprocess.run(
        [sys.executable, "-c", ASK],
        cwd=ROOT,
        env={**clean_environment(), "DJANGO_SETTINGS_MODULE": "cluster_dashboard.settings", **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    health, plain, secure = (line.split() for line in asked.stdout.splitlines())
    # No tables here: the health check says so, and does not send anybody elsewhere.
    assert health[:2] == ["503", "-"]
    assert plain[:2] == ["301", "https://gpus.example.org/admin/login/"]
    assert secure == ["200", "-", "True"]
