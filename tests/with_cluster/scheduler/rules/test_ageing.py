"""Ageing in a cluster whose window is full: the period is short, the rest as ever."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise

from scheduler.broker.hints import WINDOW
from tests.project import ROOT
from tests.services import wait_until
from tests.with_cluster.cluster import Cluster

GPU_COUNT = 2
ENVIRONMENT = {"AGEING_PERIOD": "2s"}

LOW_JOBS = 5


def test_low_jobs_start_one_in_ten_behind_a_full_window(cluster: Cluster) -> None:
    high = cluster.api.submit(count=WINDOW + 400, priority="high", params={"seconds": 0.2})
    low = cluster.api.submit(count=LOW_JOBS, priority="low", params={"seconds": 0.2})

    def started() -> list[int]:
        """The jobs in the order of their starts."""
        rows = cluster.query("SELECT job_id FROM scheduler_jobevent WHERE kind = 'started' ORDER BY id")
        return [job_id for (job_id,) in rows if job_id >= high[0]]

    wait_until(lambda: set(low) <= set(started()), 120, lambda: f"{len(started())} started, of these low: {low}")

    order = started()
    at = [order.index(job_id) for job_id in low]
    print(f"low jobs were starts number {at} of {len(order)}")
    assert len(order) < len(high), "they started while high ones waited"
    assert at == sorted(at)
    assert all(later - earlier >= 3 for earlier, later in pairwise(at)), at
    told = subprocess.run(
        [sys.executable, "manage.py", "verify", "--json"],
        cwd=ROOT,
        env=cluster.environment,
        capture_output=True,
        check=False,
        timeout=60,
    )
    verdict = json.loads(told.stdout)
    assert verdict["aged_starts"] == LOW_JOBS
    assert verdict["priority_inversions"] == 0
