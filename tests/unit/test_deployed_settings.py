"""Django's own check of a deployment, on the settings that each kind of deployment gives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.with_cluster.cluster import PROJECT, clean_environment

SECRET = "x" * 25 + "abcdefghijklmnopqrstuvwxyz0123456789"


def check_deploy(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=PROJECT,
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


def test_a_name_in_the_network_without_https_is_warned_about(tmp_path: Path) -> None:
    checked = check_deploy(tmp_path, ALLOWED_HOSTS="gpus.example.org")

    assert checked.returncode != os.EX_OK
    assert "security.W012" in checked.stderr
