"""A broker that nobody can reach for a while: whoever needs it finds it again soon after it is back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest

from tests.services import ValkeyServer, wait_until
from tests.with_cluster.cluster import Cluster
from tests.with_cluster.cluster_dashboard.operations.test_flower import metrics

#: Celery's own tries come 2, 6, 12 and 20 s after the first: at 13 s the next would be 7 s away.
AWAY_SECONDS = 13.0
#: Between two tries are at most 1.5 s; the rest is for a busy machine.
SOON_SECONDS = 5.0


@pytest.fixture
def broker() -> Iterator[ValkeyServer]:
    """One of its own: the supervisor would bring the embedded one back at once."""
    with TemporaryDirectory(prefix="away-") as folder, ValkeyServer(Path(folder, "broker.sock")) as server:
        yield server


@pytest.fixture
def cluster(broker: ValkeyServer) -> Iterator[Cluster]:
    with Cluster(gpus=2, environment={"REDIS_URL": broker.url}) as cluster:
        cluster.settle()
        yield cluster


def test_workers_ticks_and_flower_go_on_soon_after_an_outage(cluster: Cluster, broker: ValkeyServer) -> None:
    flower = httpx.Client(
        base_url=f"http://localhost:{cluster.flower_port}", auth=("admin", cluster.secret("FLOWER_PASSWORD"))
    )
    broker.stop()
    stopped_at, said_before = time.monotonic(), len(cluster.output().splitlines())
    # Each GPU could take its share alone, or all of it if the other comes late.
    job_ids = cluster.api.submit(count=10, params={"seconds": 1}, priority="critical")
    wait_until(lambda: time.monotonic() - stopped_at > AWAY_SECONDS, AWAY_SECONDS + 1)
    said = cluster.output().splitlines()[said_before:]

    broker.start()
    back_at = time.time()
    cluster.api.change_control(rate_per_minute=600, paused=False)

    def late_seconds() -> dict[str, float]:
        """By who went on, how long after the broker was back."""
        starts = cluster.query(
            "SELECT 'gpu-' || gpu, MIN(at) FROM scheduler_jobevent WHERE kind = 'started' GROUP BY gpu"
        )
        made = cluster.query(
            "SELECT source, MIN(submitted_at) FROM scheduler_job WHERE source = 'generator' GROUP BY source"
        )
        return {who: datetime.fromisoformat(f"{at}+00:00").timestamp() - back_at for who, at in [*starts, *made]}

    wait_until(lambda: len(late_seconds()) == 3, 30, cluster.tail)
    assert max(late_seconds().values()) < SOON_SECONDS, late_seconds()
    left = SOON_SECONDS + 1 - (time.time() - back_at)
    with flower:
        wait_until(lambda: 'task="gpu_tasks.sleep",type="task-started"' in metrics(flower), left, cluster.tail)
    jobs = cluster.api.wait_for_jobs(job_ids, seconds=30)
    assert {(job["state"], job["attempt"]) for job in jobs} == {("succeeded", 1)}
    # Each process says it, not each of its tries.
    assert not [line for line in said if "Traceback" in line], "\n".join(said)
    assert len([line for line in said if line.startswith("beat")]) == 1, "\n".join(said)
