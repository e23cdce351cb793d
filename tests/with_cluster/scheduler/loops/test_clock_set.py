"""Somebody sets the clock of a running cluster back by an hour."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tests.with_cluster.shifted_clock
from tests.project import ROOT
from tests.services import wait_until
from tests.with_cluster.api import events_of
from tests.with_cluster.cluster import Cluster

SHIFTED_CLOCK = Path(tests.with_cluster.shifted_clock.__path__[0])
HOUR = 3600


class ClusterWithClock:
    def __init__(self, cluster: Cluster, file: Path) -> None:
        self.cluster, self._file = cluster, file

    def set_clock(self, seconds: int) -> None:
        self._file.write_text(str(seconds))

    def submitted(self) -> int:
        return int(self.cluster.query("SELECT COUNT(*) FROM scheduler_job WHERE source = 'generator'")[0][0])


@pytest.fixture
def shifted(tmp_path: Path) -> Iterator[ClusterWithClock]:
    file = tmp_path / "seconds"
    file.write_text("0")
    environment = {"PYTHONPATH": str(SHIFTED_CLOCK), "SHIFTED_CLOCK": str(file), "JOB_RATE": "120"}
    with Cluster(gpus=2, environment=environment) as cluster:
        yield ClusterWithClock(cluster, file)


def test_jobs_start_in_order_and_load_goes_on_after_the_clock_was_set_back(shifted: ClusterWithClock) -> None:
    cluster = shifted.cluster
    wait_until(lambda: shifted.submitted() > 2, 30, "the generator submits")
    for gpu in range(2):
        cluster.api.change_gpu(gpu, drained=True)
    old = cluster.api.submit(count=3, priority="critical", params={"seconds": 0.1})

    shifted.set_clock(-HOUR)
    new = cluster.api.submit(count=3, priority="critical", params={"seconds": 0.1})
    before = shifted.submitted()
    for gpu in range(2):
        cluster.api.change_gpu(gpu, drained=False)

    jobs = cluster.api.wait_for_jobs([*old, *new], seconds=40)
    started = [events_of(job, "started")[0]["at"] for job in jobs]
    assert sorted(started) == started
    wait_until(lambda: shifted.submitted() >= before + 10, 30, "the generator goes on")
    [(message,)] = cluster.query("SELECT message FROM scheduler_clusterevent WHERE kind = 'clock_set'")
    assert message == "The database's clock was set back by 3,600 s"
    told = subprocess.run(
        [sys.executable, "manage.py", "verify", "--json"],
        cwd=ROOT,
        env=cluster.environment,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert told.returncode == 0, json.loads(told.stdout)["breaches"]
