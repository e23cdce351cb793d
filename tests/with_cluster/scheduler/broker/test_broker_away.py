"""The broker frozen, full and emptied: submitting goes on, nobody is thought dead, every job runs.

That it is killed and comes back: test_kill_services.py.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest
from redis import Redis
from redis.exceptions import RedisError

from tests.services import wait_until
from tests.with_cluster.api import events_of
from tests.with_cluster.cluster import Cluster
from tests.with_cluster.storms import load, submit_for

#: Above the 9 s of silence after which a worker is dead. Promised is 30 s; `manage.py chaos freeze_broker` takes them.
OUTAGE_SECONDS = 12.0

#: Promised.
SUBMIT_P99_SECONDS = 1.0
#: Promised: consuming again after a restart; everything runs after the broker's data are gone.
CONSUMING_SECONDS = 10
EMPTIED_SECONDS = 20


@pytest.fixture
def thawed(cluster: Cluster) -> Iterator[None]:
    yield
    os.kill(cluster.pid("broker"), signal.SIGCONT)


@pytest.mark.usefixtures("thawed")
def test_a_frozen_broker_holds_up_neither_who_submits_nor_what_runs(cluster: Cluster) -> None:
    before = load(cluster, running_seconds=OUTAGE_SECONDS - 4)
    os.kill(cluster.pid("broker"), signal.SIGSTOP)

    submitted = submit_for(cluster, OUTAGE_SECONDS)

    assert set(submitted.statuses) == {202}
    assert submitted.p99 < SUBMIT_P99_SECONDS, submitted.seconds
    # What ran has ended meanwhile: its claim stands in the database.
    running = before.ids[: cluster.gpu_count]
    states = [cluster.query("SELECT state FROM scheduler_job WHERE id = ?", job_id)[0][0] for job_id in running]
    assert states == ["succeeded"] * len(running)
    os.kill(cluster.pid("broker"), signal.SIGCONT)
    thawed_at = time.time()
    before.ids += submitted.ids
    before.assert_unhurt(seconds=60)
    first_start = cluster.query(
        "SELECT MIN(strftime('%s', at)) FROM scheduler_jobevent WHERE kind = 'started' AND job_id = ?",
        submitted.ids[0],
    )[0][0]
    assert float(first_start) - thawed_at < CONSUMING_SECONDS


@pytest.fixture
def full_broker(cluster: Cluster) -> Iterator[Redis]:
    with cluster.redis() as client:
        before = client.config_get("maxmemory")["maxmemory"]
        yield client
        client.config_set("maxmemory", before)


def test_a_full_broker_makes_nobody_look_dead(cluster: Cluster, full_broker: Redis) -> None:
    before = load(cluster, running_seconds=OUTAGE_SECONDS + 2)
    maxmemory = full_broker.config_get("maxmemory")["maxmemory"]
    full_broker.config_set("maxmemory", 1)
    wait_until(lambda: refuses_writes(full_broker), 5, "the broker is full")

    submitted = submit_for(cluster, OUTAGE_SECONDS)

    # Jobs are refused as soon as it is known, and none of them is half in.
    assert set(submitted.statuses) <= {202, 503}
    assert submitted.statuses[-1] == 503
    assert submitted.p99 < SUBMIT_P99_SECONDS, submitted.seconds
    full_broker.config_set("maxmemory", maxmemory)
    wait_until(lambda: cluster.api.http.post("/api/jobs", json={"type": "sleep"}).status_code == 202, 10, cluster.tail)
    before.ids += submitted.ids
    before.assert_unhurt(seconds=60)


def refuses_writes(client: Redis) -> bool:
    try:
        client.set("a-test", "x", ex=60)
    except RedisError:
        return True
    return False


def test_an_emptied_broker_loses_no_job(cluster: Cluster) -> None:
    before = load(cluster, running_seconds=3, waiting=40)
    with cluster.redis() as client:
        client.flushall()
    emptied_at = time.time()

    before.assert_unhurt(seconds=EMPTIED_SECONDS + 10)

    last_start = max(
        float(row[0])
        for row in cluster.query("SELECT strftime('%s', at) FROM scheduler_jobevent WHERE kind = 'started'")
    )
    assert last_start - emptied_at < EMPTIED_SECONDS
    assert not [job_id for job_id in before.ids if events_of(cluster.api.job(job_id), "requeued")]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_broker_that_is_started_again_is_consumed_within_ten_seconds(cluster: Cluster, how: signal.Signals) -> None:
    before = load(cluster, running_seconds=4)
    old_pid = cluster.pid("broker")
    os.kill(old_pid, how)
    cluster.wait_for_successor("broker", old_pid, seconds=CONSUMING_SECONDS)

    later = cluster.api.submit_one(priority="critical")

    cluster.api.wait_for_job(later, seconds=CONSUMING_SECONDS)
    before.assert_unhurt(seconds=30)
