"""The verdict on a real run: with faults and kills it passes; after a change by hand it fails."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import Any

import pytest
from pytest_celery import CeleryTestWorker

from tests.project import ROOT
from tests.with_cluster.cluster import Cluster

GPU_COUNT = 3


def verify(cluster: Cluster) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "manage.py", "verify", "--json"],
        cwd=ROOT,
        env=cluster.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.startswith("{"), done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.fixture
def after_a_run(cluster: Cluster, workers: list[CeleryTestWorker]) -> list[int]:
    """Jobs that met faults, and a worker that was killed; all have ended. Gives their ids."""
    for gpu in range(GPU_COUNT):
        cluster.api.change_gpu(gpu, failure_rate=0.3)
    cluster.api.change_control(fault_profile="demo")
    job_ids = cluster.api.submit(count=40, params={"seconds": 0.1}, accepts_faults=True)
    slow = cluster.api.submit_one(params={"seconds": 1.5}, priority="critical")
    workers[cluster.api.wait_for_event(slow, "started")["gpu"]].kill()
    cluster.api.wait_for_jobs([*job_ids, slow], seconds=90)
    return job_ids


def test_a_run_with_faults_and_kills_passes_and_a_change_by_hand_fails(
    cluster: Cluster, after_a_run: list[int]
) -> None:
    code, verdict = verify(cluster)
    assert (code, verdict["outcome"]) == (0, "holds"), verdict
    assert verdict["requeues"]
    assert verdict["starts"] >= len(after_a_run)

    job_id = after_a_run[0]
    for change, undo in (
        (
            "UPDATE scheduler_job SET failures = failures + 1 WHERE id = ?",
            "UPDATE scheduler_job SET failures = failures - 1 WHERE id = ?",
        ),
        ("DELETE FROM scheduler_jobevent WHERE job_id = ? AND n = 2", ""),
    ):
        with closing(sqlite3.connect(cluster.state_dir / "cluster.sqlite3", timeout=20)) as database, database:
            database.execute(change, (job_id,))

        code, verdict = verify(cluster)
        assert (code, verdict["outcome"]) == (1, "broken"), verdict
        assert job_id in {breach["job"] for breach in verdict["breaches"]}

        if undo:
            with closing(sqlite3.connect(cluster.state_dir / "cluster.sqlite3", timeout=20)) as database, database:
                database.execute(undo, (job_id,))
