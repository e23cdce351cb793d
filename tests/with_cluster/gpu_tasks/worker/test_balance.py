"""Load balances itself: an idle GPU takes the next job, and never a second one beside it."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from tests.services import wait_until
from tests.with_cluster.cluster import Cluster

GPU_COUNT = 8
JOBS = 800


def test_equal_jobs_spread_evenly_and_no_gpu_runs_two_at_once(cluster: Cluster) -> None:
    job_ids = cluster.api.submit(count=JOBS, params={"seconds": 0.1})
    chosen = (min(job_ids), max(job_ids))

    def states() -> Counter[str]:
        rows = cluster.query("SELECT state, COUNT(*) FROM scheduler_job WHERE id BETWEEN ? AND ? GROUP BY 1", *chosen)
        return Counter(dict(rows))

    wait_until(lambda: not {"queued", "running"} & set(states()), 120, lambda: f"{states()}\n{cluster.tail()}")

    assert states() == {"succeeded": JOBS}
    spans = cluster.query(
        """
        SELECT started.gpu, started.at, ended.at
          FROM scheduler_jobevent started
          JOIN scheduler_jobevent ended ON ended.job_id = started.job_id AND ended.kind = 'succeeded'
         WHERE started.kind = 'started' AND started.job_id BETWEEN ? AND ?
         ORDER BY started.gpu, started.at
        """,
        *chosen,
    )
    assert len(spans) == JOBS
    for_each_gpu = Counter(gpu for gpu, _, _ in spans)
    assert sorted(for_each_gpu) == list(range(GPU_COUNT))
    assert all(85 <= count <= 115 for count in for_each_gpu.values()), for_each_gpu
    overlaps = [(one, two) for one, two in pairwise(spans) if one[0] == two[0] and two[1] < one[2]]
    assert overlaps == []
