"""A burst of 10,000 jobs through the API: all are accepted, all end, nobody's memory grows, the verdict holds."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.services import wait_until
from tests.with_cluster.api import story
from tests.with_cluster.cluster import Cluster
from tests.with_cluster.cluster_dashboard.console.test_cli import manage

GPU_COUNT = 2
JOBS = 10_000
EACH_CALL = 500

#: The same for one job or a million; a copy of all these jobs would take more.
GROWTH_MAXIMUM_MIB = 24
#: 500 hints in each queue, heartbeats, ten minutes of samples.
BROKER_MAXIMUM_MIB = 16


def test_a_burst_of_ten_thousand_jobs(cluster: Cluster) -> None:
    cluster.api.submit(count=200)
    wait_until(lambda: is_done(cluster), 30, cluster.tail)
    before = resident_mib(cluster)
    broker_peak = growth_peak = 0.0

    ids = burst(cluster)

    assert len(set(ids)) == JOBS

    def ended() -> bool:
        nonlocal broker_peak, growth_peak
        broker_peak = max(broker_peak, broker_mib(cluster))
        now = resident_mib(cluster)
        growth_peak = max([growth_peak, *(now[name] - before[name] for name in now.keys() & before.keys())])
        return is_done(cluster)

    wait_until(ended, 180, cluster.tail)
    print(f"broker at most {broker_peak:.1f} MiB; growth of a process at most {growth_peak:.1f} MiB")
    assert growth_peak < GROWTH_MAXIMUM_MIB
    assert broker_peak < BROKER_MAXIMUM_MIB
    states = cluster.query("SELECT state, attempt, COUNT(*) FROM scheduler_job WHERE id >= ? GROUP BY 1, 2", ids[0])
    assert states == [("succeeded", 1, JOBS)], story(cluster.api.jobs(state="failed")[0])
    verdict = manage(cluster, "verify", "--json")
    assert (verdict.returncode, json.loads(verdict.stdout)["jobs"] >= JOBS) == (0, True), verdict.stdout[:2000]


def burst(cluster: Cluster) -> list[int]:
    """From four clients at once; each call is answered, and accepted."""

    def call(_: int) -> list[int]:
        return cluster.api.submit(count=EACH_CALL)

    with ThreadPoolExecutor(max_workers=4) as clients:
        return sorted(job_id for ids in clients.map(call, range(JOBS // EACH_CALL)) for job_id in ids)


def is_done(cluster: Cluster) -> bool:
    """Asked often: by an index, and without counting."""
    open_states = "SELECT 1 FROM scheduler_job WHERE state IN ('queued', 'running') LIMIT 1"
    return not cluster.query(open_states)


def broker_mib(cluster: Cluster) -> float:
    with cluster.redis() as client:
        return int(client.info("memory")["used_memory"]) / 2**20


def resident_mib(cluster: Cluster) -> dict[str, float]:
    """By role; a worker's child is not counted, since it may be another one by now."""
    names = ["scheduler", "beat", "web", "broker", *(f"gpu-{index}" for index in range(cluster.gpu_count))]
    return {name: _resident_mib(cluster.pid(name)) for name in names}


def _resident_mib(pid: int) -> float:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024
