"""What a worker writes of its GPU and of itself is read back typed; what cannot be read is left out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import pytest
from redis import Redis

from scheduler.loops.heartbeats import Beat, beats_key, closed_gpus, read_beats, write_beat
from scheduler.loops.samples import (
    HistoryPoint,
    LiveSample,
    history_key,
    read_history,
    read_sample,
    read_samples,
    samples_key,
    write_history_point,
    write_sample,
)
from scheduler.rules.gpu import UNKNOWN_SAMPLE, GpuHealth, GpuProcess, GpuSample
from tests.services import ValkeyServer

SAMPLE = GpuSample(
    health=GpuHealth.HEALTHY,
    utilization_percent=87.5,
    memory_used_mib=4096,
    memory_total_mib=81559,
    temperature_c=61.0,
    power_w=512.25,
    temperature_limit_c=87.0,
    sm_clock_mhz=1980.0,
    processes=(GpuProcess(pid=7, memory_mib=3000), GpuProcess(pid=8, memory_mib=None)),
    last_xid=31,
)
LIVE = LiveSample(sample=SAMPLE, at=1000.5, held=(12, 3), progress=0.25)
BEAT = Beat(
    gpu=1, boot="b", seq=9, pid=7, child_pid=8, host="h", held=((12, 3), (9, 1)), health="healthy", note="", at=1000.5
)

#: What a hash may hold that no worker of this version wrote.
TORN = [
    b"",
    b"{",
    b"\xff\xfe",
    b"null",
    b"[1, 2]",
    b"7",
    b"[" * 100_000,
]


@pytest.fixture
def client(valkey_server: ValkeyServer) -> Iterator[Redis]:
    with valkey_server.client() as client:
        client.flushall()
        yield client


def written(client: Redis, gpu: int = 1) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(client.hget(samples_key(), str(gpu)) or b"")
    return values


def put_sample(client: Redis, gpu: int, live: LiveSample) -> None:
    pipe = client.pipeline(transaction=False)
    write_sample(pipe, gpu, live)
    pipe.execute()


# --- samples --------------------------------------------------------------------------------------


def test_a_sample_is_read_back_as_it_was_written(client: Redis) -> None:
    put_sample(client, 1, LIVE)
    put_sample(client, 2, LiveSample(at=3.0))

    assert read_samples(client) == {1: LIVE, 2: LiveSample(sample=UNKNOWN_SAMPLE, at=3.0)}
    assert read_sample(client, 1) == LIVE


def test_the_text_in_redis_is_what_it_has_always_been(client: Redis) -> None:
    put_sample(client, 1, LIVE)

    assert samples_key() == "gpucluster:samples"
    assert written(client) == {
        "health": "healthy",
        "utilization_percent": 87.5,
        "memory_used_mib": 4096,
        "memory_total_mib": 81559,
        "temperature_c": 61.0,
        "power_w": 512.25,
        "temperature_limit_c": 87.0,
        "sm_clock_mhz": 1980.0,
        "processes": [{"pid": 7, "memory_mib": 3000}, {"pid": 8, "memory_mib": None}],
        "last_xid": 31,
        "note": "",
        "at": 1000.5,
        "held": [12, 3],
        "progress": 0.25,
    }


@pytest.mark.parametrize("torn", TORN)
def test_a_sample_that_cannot_be_read_is_left_out(client: Redis, torn: bytes) -> None:
    client.hset(samples_key(), "0", torn)
    client.hset(samples_key(), "not a GPU", b"{}")
    put_sample(client, 1, LIVE)

    assert read_samples(client) == {1: LIVE}
    assert read_sample(client, 0) == LiveSample()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("utilization_percent", "87"),
        ("utilization_percent", float("nan")),
        ("power_w", float("inf")),
        ("temperature_c", True),
        ("temperature_c", 10**400),
        ("memory_used_mib", 1.5),
        ("memory_total_mib", 2**70),
        ("processes", [{"pid": "7"}]),
        ("processes", {"pid": 7}),
        ("last_xid", {}),
    ],
)
def test_a_field_of_another_type_is_unknown_and_the_others_stay(client: Redis, name: str, value: object) -> None:
    put_sample(client, 1, LIVE)
    client.hset(samples_key(), "1", json.dumps({**written(client), name: value}))

    assert read_sample(client, 1) == replace(LIVE, sample=replace(SAMPLE, **{name: None}))


def test_health_that_is_not_a_word_of_ours_is_unknown(client: Redis) -> None:
    put_sample(client, 1, LIVE)
    client.hset(samples_key(), "1", json.dumps({**written(client), "health": "excellent"}))

    assert read_sample(client, 1).sample.health is GpuHealth.UNKNOWN


def test_progress_is_that_of_one_job_and_attempt() -> None:
    assert [LIVE.progress_of(*key) for key in ((12, 3), (12, 2), (13, 3))] == [0.25, None, None]
    assert LiveSample(progress=0.5).progress_of(12, 3) is None


# --- history --------------------------------------------------------------------------------------


def test_points_are_read_back_with_their_times(client: Redis) -> None:
    before = client.time()[0]
    pipe = client.pipeline(transaction=False)
    write_history_point(pipe, 1, SAMPLE)
    write_history_point(pipe, 1, UNKNOWN_SAMPLE)
    pipe.execute()

    first, second = read_history(client, [1], since=before)[1]

    assert (first.utilization_percent, first.power_w) == (87.5, 512.2)
    assert (second.utilization_percent, second.power_w) == (None, None)
    assert before <= first.at <= second.at < before + 60
    assert read_history(client, [1, 2], since=before + 3600) == {1: [], 2: []}


def test_a_point_that_cannot_be_read_is_unknown(client: Redis) -> None:
    client.xadd(history_key(1), {"u": "much", "p": "nan", "more": "1"}, id="5000-1")

    assert history_key(1) == "gpucluster:history:1"
    assert read_history(client, [1], since=0) == {1: [HistoryPoint(at=5.0, utilization_percent=None, power_w=None)]}


# --- heartbeats -----------------------------------------------------------------------------------


def test_a_beat_is_read_back_as_it_was_written(client: Redis) -> None:
    write_beat(client, BEAT)

    assert read_beats(client) == {1: BEAT}


@pytest.mark.parametrize(
    "torn",
    [
        *TORN,
        b"{}",
        *(
            json.dumps(asdict(BEAT) | wrong).encode()
            for wrong in (
                {"seq": "1"},
                {"at": None},
                {"boot": 7},
                {"held": None},
                {"held": [[1]]},
                {"held": [[1, "2"]]},
            )
        ),
    ],
)
def test_a_beat_that_cannot_be_read_counts_as_none(client: Redis, torn: bytes) -> None:
    client.hset(beats_key(), "0", torn)
    write_beat(client, BEAT)

    assert read_beats(client) == {1: BEAT}


def test_a_field_that_a_newer_worker_adds_does_not_hide_its_beat(client: Redis) -> None:
    write_beat(client, BEAT)
    text = client.hget(beats_key(), "1") or b""
    client.hset(beats_key(), "1", json.dumps({**json.loads(text), "more": 1}))

    assert read_beats(client) == {1: BEAT}


@pytest.mark.parametrize(("seconds", "recent"), [(0, True), (-8, True), (-10, False), (3600, False)])
def test_a_beat_from_the_future_does_not_show_that_its_worker_lives(
    client: Redis, seconds: float, recent: bool
) -> None:
    """The clock was set back; the worker had died just before."""
    now = client.time()[0]
    write_beat(client, replace(BEAT, at=now + seconds, note=""))

    assert read_beats(client)[BEAT.gpu].is_recent(now) is recent
    assert (BEAT.gpu in closed_gpus(client)) is not recent
