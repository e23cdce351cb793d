"""What a worker writes to Redis of itself and its GPU, and what it finds there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from redis import Redis

from gpu_tasks.faults.requests import requests_key
from gpu_tasks.worker.heartbeat import COUNTED_SECONDS, HEARTBEAT_PERIOD_SECONDS, Heartbeat
from gpu_tasks.worker.held import Held
from gpu_tasks.worker.readings import GpuReading
from scheduler.broker.hints import queue_key
from scheduler.loops.heartbeats import BEAT_SECONDS, read_beats
from scheduler.loops.samples import history_key, samples_key
from tests.services import ValkeyServer
from tests.unit.builders import a_sample


@pytest.fixture
def client(valkey_server: ValkeyServer) -> Iterator[Redis]:
    with valkey_server.client() as client:
        client.flushall()
        yield client


def heartbeat(client: Redis, **changes: Any) -> Heartbeat:
    moments = count(100.0, HEARTBEAT_PERIOD_SECONDS)
    values: dict[str, Any] = {
        "gpu": 3,
        "boot": "b",
        "pid": 4_000_001,
        "host": "here",
        "reading": lambda: GpuReading(sample=a_sample(), at=next(moments)),
        "held": Held(),
        "valve": SimpleNamespace(note="", reading=("high", "low")),
        "child_pid": lambda: 4_000_002,
        "kept": lambda: (),
        "redis": client,
    }
    return Heartbeat(**(values | changes))


def test_a_beat_lists_the_job_that_runs_and_the_endings_that_are_kept(client: Redis) -> None:
    held = Held()
    held.running(7, 2, time_limit_seconds=60, memory_mib=0, load=1.0)

    assert heartbeat(client, held=held, kept=lambda: ((5, 1),)).tick(100.0)

    beat = read_beats(client)[3]
    assert (beat.seq, beat.pid, beat.child_pid, beat.held) == (1, 4_000_001, 4_000_002, ((7, 2), (5, 1)))


def test_a_beat_has_the_note_of_the_valve(client: Redis) -> None:
    heartbeat(client, valve=SimpleNamespace(note="drained by an operator", reading=())).tick(100.0)

    assert read_beats(client)[3].note == "drained by an operator"


def test_beats_come_with_their_period_and_samples_with_each_tick(client: Redis) -> None:
    sender = heartbeat(client)
    written: list[float] = []
    for tick in range(int(BEAT_SECONDS / HEARTBEAT_PERIOD_SECONDS) + 1):
        sender.tick(100.0 + tick * HEARTBEAT_PERIOD_SECONDS)
        written.append(json.loads(client.hget(samples_key(), "3"))["at"])

    assert read_beats(client)[3].seq == 2
    assert len(set(written)) == len(written)
    assert client.xlen(history_key(3)) == 3


def test_hints_in_the_queues_that_are_read_are_counted_for_a_moment(client: Redis) -> None:
    client.rpush(queue_key("high"), "a", "b")
    client.rpush(queue_key("low"), "c")
    client.rpush(queue_key("normal"), "not read")
    sender = heartbeat(client)

    sender.tick(100.0)

    assert sender.hints_waiting(100.0) == 3
    assert sender.hints_waiting(100.0 + COUNTED_SECONDS) == 0


def test_a_queue_key_of_the_wrong_type_does_not_look_like_an_unavailable_broker(client: Redis) -> None:
    client.set(queue_key("high"), "not a list")
    client.rpush(queue_key("low"), "c")
    sender = heartbeat(client)

    assert sender.tick(100.0)

    assert (sender.last_confirmed, sender.hints_waiting(100.0)) == (100.0, 1)


def test_requested_faults_are_not_its_affair(client: Redis) -> None:
    client.rpush(requests_key(3), "a request")

    heartbeat(client).tick(100.0)

    assert client.llen(requests_key(3)) == 1


def test_an_unavailable_broker_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with Redis.from_url("redis://127.0.0.1:1") as unreachable:
        sender = heartbeat(unreachable)
        before = sender.last_confirmed

        assert not any(sender.tick(100.0 + tick) for tick in range(3))

    (record,) = caplog.records
    assert (record.message, record.component, record.gpu) == ("broker_unreachable", "heartbeat", 3)
    assert sender.last_confirmed == before


class RedisSetBack:
    """A Redis whose clock was set back by an hour: its TIME, and the ids that it gives."""

    def __init__(self, client: Redis) -> None:
        self._client, self.by = client, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def time(self) -> tuple[int, int]:
        seconds, micros = self._client.time()
        return seconds - self.by, micros


@pytest.mark.parametrize("restarted", [False, True], ids=["while the worker runs", "before it started"])
def test_after_a_clock_that_was_set_back_the_history_begins_again(client: Redis, restarted: bool) -> None:
    seconds, _ = client.time()
    client.xadd(history_key(3), {"u": "1", "p": "1"}, id=f"{seconds * 1000}-0")
    redis = RedisSetBack(client)
    sender = heartbeat(redis)
    if not restarted:
        sender.tick(100.0)
        assert client.xlen(history_key(3)) == 2
    redis.by = 3600

    sender.tick(200.0)

    assert client.xlen(history_key(3)) == 1
    assert client.hget(samples_key(), "3") is not None
