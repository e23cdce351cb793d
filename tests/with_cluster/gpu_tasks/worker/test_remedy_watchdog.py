"""A worker that no longer hears its queues restarts itself.

Both workers are made deaf: their consumers forget all queues, as after a reconnect gone wrong. GPU 0's has the
watchdog; GPU 1's, started by hand, lacks it and stays idle beside full queues.
"""

from __future__ import annotations

from celery import Celery

from scheduler.redis_client import KEY_PREFIX
from scheduler.redis_url import celery_url
from scheduler.rules.states import PRIORITY_ORDER
from tests.mutants.source import source_without
from tests.with_cluster.api import events_of, story
from tests.with_cluster.cluster import Cluster
from tests.with_cluster.unix_session import is_alive

GPU_COUNT = 1
WITH, WITHOUT = 0, 1
#: Promised: deaf for 20 s; it may take 10 s to stop, and 5 s to be back.
BACK_WITHIN_SECONDS = 36


def make_deaf(cluster: Cluster, gpu: int) -> None:
    """Nobody on our side knows: the worker takes itself for a reader of its queues."""
    app = Celery("tests", broker=celery_url(cluster.redis_url), set_as_current=False)
    app.conf.broker_transport_options = {"global_keyprefix": KEY_PREFIX}
    (name,) = [name for answer in app.control.ping(timeout=3) for name in answer if name.startswith(f"gpu-{gpu}@")]
    for queue in PRIORITY_ORDER:
        (answer,) = app.control.cancel_consumer(queue.value, destination=[name], reply=True, timeout=5)
        assert "no longer consuming" in str(answer)


def test_a_deaf_worker_restarts_itself(cluster: Cluster) -> None:
    by_hand = cluster.start_worker(WITHOUT, source_without("no_watchdog"))
    cluster.wait_for_worker(WITHOUT, by_hand)
    for gpu in (WITH, WITHOUT):
        make_deaf(cluster, gpu)
    deaf = cluster.pid("gpu-0")

    job_ids = cluster.api.submit(count=2, params={"seconds": 1})

    successor = cluster.wait_for_successor("gpu-0", deaf, seconds=BACK_WITHIN_SECONDS)
    jobs = cluster.api.wait_for_jobs(job_ids, seconds=30)
    # Both ran there, one after the other: the other GPU was idle all the time, and no failure was charged.
    assert {(job["state"], job["gpu"], job["failures"]) for job in jobs} == {("succeeded", WITH, 0)}
    assert [len(events_of(job, "started")) for job in jobs] == [1, 1], "\n".join(map(story, jobs))
    assert is_alive(by_hand)
    assert cluster.beats()[WITHOUT].pid == by_hand
    assert cluster.beats()[WITH].pid == successor
    events = cluster.query("SELECT gpu, message FROM scheduler_clusterevent WHERE kind = 'worker_deaf'")
    assert [gpu for gpu, _ in events] == [WITH]
    assert "worker_deaf" in cluster.log_path("gpu-0").read_text()
