"""The commands as a user types them, beside a running cluster."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

from tests.project import ROOT
from tests.services import wait_until
from tests.with_cluster.api import story
from tests.with_cluster.cluster import Cluster

GPU_COUNT = 2


def manage(cluster: Cluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=cluster.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_submit_waits_for_the_results_of_its_jobs(cluster: Cluster) -> None:
    ran = manage(
        cluster, "submit", "compute", "--count", "3", "--param", "kernel=prime_sieve", "--param", "size=1000",
        "--wait", "--json",
    )  # fmt: skip

    assert (ran.returncode, ran.stderr) == (0, "")
    jobs = json.loads(ran.stdout)["jobs"]
    assert [(job["state"], job["result"]["value"]) for job in jobs] == [("succeeded", 168)] * 3
    assert cluster.api.job(jobs[0]["id"])["source"] == "cli"


def test_submit_ends_with_1_when_its_job_fails(cluster: Cluster) -> None:
    ran = manage(cluster, "submit", "fault_injection", "--param", "after_seconds=0", "--wait")

    assert (ran.returncode, ran.stdout.splitlines()[-1]) == (1, "1 failed")
    assert "fails on purpose" in ran.stderr


def test_ctrl_c_during_the_wait_leaves_the_job_running(cluster: Cluster) -> None:
    waiting = subprocess.Popen(
        [sys.executable, "manage.py", "submit", "sleep", "--param", "seconds=600", "--wait"],
        cwd=ROOT,
        env=cluster.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    (job,) = wait_until(lambda: cluster.api.jobs(state="running"), 30, cluster.tail)

    os.kill(waiting.pid, signal.SIGINT)
    _, errors = waiting.communicate(timeout=30)

    assert waiting.returncode == 130
    assert f"the jobs go on. To end them: gpuc cancel {job['id']}" in errors
    assert cluster.api.job(job["id"])["state"] == "running"

    assert manage(cluster, "cancel", str(job["id"])).returncode == 0
    ended = cluster.api.wait_for_job(job["id"])
    assert ended["state"] == "cancelled", story(ended)
    assert any("by cli (" in event["detail"] for event in ended["events"])


def test_status_shows_what_the_workers_do_now(cluster: Cluster) -> None:
    job_id = cluster.api.submit_one(params={"seconds": 600})
    cluster.api.wait_for_job(job_id, "running")

    def busy_gpu() -> dict[str, Any] | None:
        shown = json.loads(manage(cluster, "status", "--json").stdout)
        busy = [gpu for gpu in shown["gpus"] if gpu["job"] and gpu["job"]["progress"] is not None]
        return busy[0] if busy else None

    gpu = wait_until(busy_gpu, 30, cluster.tail)

    assert (gpu["job"]["id"], gpu["state"]) == (job_id, "busy")
    assert gpu["heartbeat_age_s"] < 9
    assert gpu["utilization_percent"] is not None
    shown = manage(cluster, "status").stdout
    assert f"{job_id} {gpu['job']['name']}" in shown


def test_rate_reaches_the_cluster_with_the_users_name(cluster: Cluster) -> None:
    assert manage(cluster, "rate", "0.2").returncode == 0

    rates = cluster.query("SELECT rate_per_minute FROM scheduler_control")
    actors = cluster.query("SELECT actor FROM scheduler_clusterevent WHERE kind = 'control' ORDER BY id DESC LIMIT 1")
    assert rates == [(0.2,)]
    assert actors[0][0].startswith("cli (")


def test_job_tells_its_story(cluster: Cluster) -> None:
    job = cluster.api.wait_for_job(cluster.api.submit_one())

    ran = manage(cluster, "job", job["name"])

    assert ran.returncode == 0
    assert [kind for kind in ("submitted", "started", "succeeded") if kind not in ran.stdout] == []
    assert ran.stdout.startswith(f"job {job['id']} {job['name']} succeeded\n")
