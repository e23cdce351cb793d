"""A command of each page of the documentation does what the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.project import ROOT
from tests.with_cluster.cluster import Cluster
from tests.with_cluster.docs.commands import COMMANDS, Command

GPU_COUNT = 4
#: A verdict or a `--wait` takes longest.
COMMAND_SECONDS = 60


def typed(command: Command, cluster: Cluster) -> str:
    """As a user types it, at this cluster's addresses."""
    text = command.text.replace("localhost:8080", f"localhost:{cluster.web_port}").replace(
        "var/", f"{cluster.state_dir}/"
    )
    return re.sub(r"\bmanage\.py", f"{sys.executable} manage.py", text)


def run(command: Command, cluster: Cluster) -> subprocess.CompletedProcess[str]:
    token = cluster.secret("API_TOKEN")
    known = {"A": f"Authorization: Bearer {token}", "J": "Content-Type: application/json"}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        ["bash", "-c", typed(command, cluster)],
        cwd=ROOT,
        env={**cluster.environment, **known, "PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )


@pytest.fixture(scope="module")
def busy_cluster(running_cluster: Cluster) -> Cluster:
    """A job has ended, a token `ci` exists: what the pages start from."""
    running_cluster.api.wait_for_job(running_cluster.api.submit_one("matrix"), "succeeded")
    made = Command(page="", text="gpuc token create ci --scope submit")
    assert run(made, running_cluster).returncode == 0
    return running_cluster


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: f"{command.page}: {command.text}")
def test_the_command_does_what_the_page_says(command: Command, busy_cluster: Cluster) -> None:
    done = run(command, busy_cluster)

    assert done.returncode == command.code, done.stdout + done.stderr
    assert re.search(command.shows, done.stdout), done.stdout + done.stderr
