"""A worker that is asked to stop requeues its running job without a charge.

GPU 0 has the remedy; GPU 1's worker, started by hand, lacks it: there a stop costs a failure, as a crash does.
"""

from __future__ import annotations

import os
import signal

from tests.mutants.source import source_without
from tests.with_cluster.api import assert_ended_once, story
from tests.with_cluster.cluster import Cluster

GPU_COUNT = 1
WITH, WITHOUT = 0, 1
#: Silence until death is known, and a second for the scan.
KNOWN_DEAD_WITHIN_SECONDS = 10


def start_job(cluster: Cluster, gpu: int) -> int:
    cluster.steer_to(gpu)
    job_id = cluster.api.submit_one(params={"seconds": 60})
    assert cluster.api.wait_for_event(job_id, "started")["gpu"] == gpu
    return job_id


def test_a_stop_costs_a_job_nothing(cluster: Cluster) -> None:
    by_hand = cluster.start_worker(WITHOUT, source_without("stop_like_a_crash"))
    cluster.wait_for_worker(WITHOUT, by_hand)
    kept, charged = start_job(cluster, WITH), start_job(cluster, WITHOUT)

    os.kill(cluster.pid("gpu-0"), signal.SIGTERM)
    os.kill(by_hand, signal.SIGTERM)

    requeued = cluster.api.wait_for_event(kept, "requeued")
    assert (requeued["reason"], requeued["charged"]) == ("shutdown", False)
    requeued = cluster.api.wait_for_event(charged, "requeued", seconds=KNOWN_DEAD_WITHIN_SECONDS + 10)
    assert (requeued["reason"], requeued["charged"]) == ("worker_died", True)
    cluster.wait_for_worker_end(by_hand)
    for job_id, failures in ((kept, 0), (charged, 1)):
        job = cluster.api.job(job_id)
        assert (job["attempt"], job["failures"]) == (2, failures), story(job)
        cluster.api.cancel(job_id)
        assert_ended_once(cluster.api.wait_for_job(job_id))
