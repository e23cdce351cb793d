"""POST /api/gpus/N/faults: who may break what, and what is said when there is nobody to hit."""

from __future__ import annotations

import json
from typing import Any

import pytest
from redis import Redis

from gpu_tasks.faults.requests import redis_now, requests_key
from scheduler.loops.heartbeats import Beat, write_beat
from scheduler.models import ClusterEvent, Gpu
from tests.with_database.cluster_dashboard.api.test_api import Api, problem

pytestmark = pytest.mark.usefixtures("control", "gpus")


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def worker_elsewhere(redis: Redis) -> int:
    """GPU 2 beats, from a machine whose processes cannot be reached."""
    write_beat(
        redis,
        Beat(
            gpu=2,
            boot="b",
            seq=1,
            pid=4_000_001,
            child_pid=4_000_002,
            host="elsewhere",
            held=(),
            health="healthy",
            note="",
            at=redis_now(redis),
        ),
    )
    return 2


def test_fault_is_asked_of_the_worker_and_recorded_with_who(api: Api, redis: Redis, worker_elsewhere: int) -> None:
    answer = api.post("/gpus/2/faults", {"kind": "worker_hung", "hang_seconds": 5})

    assert (answer.status_code, answer.json()["label"]) == (202, "Worker hung")
    request = json.loads(redis.lpop(requests_key(2)))
    assert (request["kind"], request["hang_seconds"]) == ("worker_hung", 5)
    recorded = ClusterEvent.objects.get()
    assert (recorded.kind, recorded.gpu) == ("fault", 2)
    assert recorded.actor
    assert recorded.message == f"GPU 2: fault injected: Worker hung, by {recorded.actor}"


def test_gpu_whose_worker_does_not_beat_is_not_hit(api: Api, redis: Redis) -> None:
    answer = api.post("/gpus/1/faults", {"kind": "worker_killed"})

    assert problem(answer)[0] == 409
    assert answer.json()["detail"] == "GPU 1: no worker sends heartbeats."
    assert not ClusterEvent.objects.exists()


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/gpus/9/faults", {"kind": "worker_killed"}, 404),
        ("/gpus/1/faults", {"kind": "flood"}, 422),
        ("/gpus/1/faults", {}, 422),
        ("/gpus/1/faults", {"kind": "worker_hung", "hang_seconds": 0}, 422),
        ("/gpus/1/faults", {"kind": "worker_hung", "hang_seconds": 601}, 422),
        ("/gpus/1/faults", {"kind": "worker_hung", "for_ever": True}, 422),
    ],
)
def test_wrong_fault_is_refused(api: Api, gpus: list[Gpu], path: str, body: dict[str, Any], status: int) -> None:
    answer = api.post(path, body)

    assert problem(answer)[0] == status
    assert not ClusterEvent.objects.exists()
