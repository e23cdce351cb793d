"""Faults that a worker carries out on itself, since its processes cannot be reached from elsewhere."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from gpu_tasks.faults import requests as fault_requests
from gpu_tasks.faults.injection import NothingToHit, Victim, carry_out, resume
from gpu_tasks.faults.requests import RequestedFaults, obey, requests_key
from gpu_tasks.processes import helpers
from gpu_tasks.processes.cluster_pids import OutOfReach
from scheduler.loops.heartbeats import Beat, write_beat
from scheduler.rules.faults import FaultKind
from tests.services import ValkeyServer, wait_until
from tests.with_cluster.unix_session import is_stopped

type Process = subprocess.Popen[bytes]

WAITS = "import sys; print('ready', flush=True); sys.stdin.read()"


@pytest.fixture
def client(valkey_server: ValkeyServer) -> Iterator[Redis]:
    with valkey_server.client() as client:
        client.flushall()
        yield client


@pytest.fixture
def processes() -> Iterator[list[Process]]:
    """Two that wait: a worker's and its child's, in a test that may end them."""
    started = [
        subprocess.Popen([sys.executable, "-c", WAITS], stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
    yield started
    for process in started:
        process.send_signal(signal.SIGCONT)
        process.communicate()


def a_beat(client: Redis, **changes: Any) -> Beat:
    values = {
        "gpu": 3,
        "boot": "b",
        "seq": 1,
        "pid": 4_000_001,
        "child_pid": 4_000_002,
        "host": "elsewhere",
        "held": (),
        "health": "healthy",
        "note": "",
        "at": fault_requests.redis_now(client),
    }
    beat = Beat(**(values | changes))
    write_beat(client, beat)
    return beat


@pytest.fixture(autouse=True)
def _no_alarm_clock_is_left() -> Iterator[None]:
    """Python warns about a child process that was not waited for."""
    yield
    clocks = helpers._started
    wait_until(lambda: all(clock.poll() is not None for clock in clocks), 10, "every hang has ended")


@pytest.fixture
def nothing_recorded(monkeypatch: pytest.MonkeyPatch) -> list[FaultKind]:
    """These tests have no database."""
    recorded: list[FaultKind] = []
    monkeypatch.setattr(fault_requests, "record", lambda kind, gpu, actor: recorded.append(kind))
    return recorded


def test_literal_key() -> None:
    assert requests_key(3) == "gpucluster:fault-requests:3"


def test_worker_of_another_machine_is_asked_and_obeys(
    client: Redis, processes: list[Process], nothing_recorded: list[FaultKind]
) -> None:
    a_beat(client)

    fault_requests.inject(FaultKind.CHILD_KILLED, 3, client, actor="somebody")
    request = client.lpop(requests_key(3))
    obey(request, gpu=3, child_pid=processes[1].pid, now=fault_requests.redis_now(client))

    assert processes[1].wait(10) == -signal.SIGKILL
    assert processes[0].poll() is None
    assert nothing_recorded == [FaultKind.CHILD_KILLED]


@pytest.mark.parametrize("seconds", [fault_requests.REQUEST_SECONDS + 1, -3600], ids=["late", "clock set back"])
def test_request_that_comes_too_late_hits_no_process(
    client: Redis, processes: list[Process], nothing_recorded: list[FaultKind], seconds: float
) -> None:
    a_beat(client)
    fault_requests.inject(FaultKind.CHILD_KILLED, 3, client, actor="somebody")
    request = client.lpop(requests_key(3))
    later = fault_requests.redis_now(client) + seconds

    obey(request, gpu=3, child_pid=processes[1].pid, now=later)
    processes[1].send_signal(signal.SIGTERM)

    assert processes[1].wait(10) == -signal.SIGTERM


@pytest.mark.parametrize(
    "request_body",
    [
        b"",
        b"\xff",
        b"7",
        b"[]",
        b"{}",
        b'{"kind": "flood", "until": 1, "hang_seconds": 1}',
        b'{"kind": "child_killed"}',
    ],
)
def test_malformed_request_is_dropped(request_body: bytes, caplog: pytest.LogCaptureFixture) -> None:
    obey(request_body, gpu=3, child_pid=None, now=0)

    assert [record.message for record in caplog.records] == ["fault_request_dropped"]


def test_request_for_a_job_process_that_is_not_there_does_not_end_the_thread(caplog: pytest.LogCaptureFixture) -> None:
    obey(json.dumps({"kind": "child_killed", "until": 9, "hang_seconds": 1}).encode(), gpu=3, child_pid=None, now=8)

    assert "fault_not_carried_out" in [record.message for record in caplog.records]


@pytest.mark.parametrize("seconds", [-60, 3600], ids=["old", "clock set back"])
def test_gpu_without_a_fresh_beat_is_out_of_reach(
    client: Redis, nothing_recorded: list[FaultKind], seconds: float
) -> None:
    a_beat(client, at=fault_requests.redis_now(client) + seconds)

    with pytest.raises(OutOfReach, match="GPU 3: no worker sends heartbeats"):
        fault_requests.inject(FaultKind.WORKER_KILLED, 3, client, actor="somebody")

    assert client.exists(requests_key(3)) == 0
    assert not nothing_recorded


def test_worker_without_a_child_has_nothing_to_hit(client: Redis, nothing_recorded: list[FaultKind]) -> None:
    a_beat(client, child_pid=None)

    with pytest.raises(NothingToHit):
        fault_requests.inject(FaultKind.JOB_ERROR, 3, client, actor="somebody")


def test_hang_stops_both_processes_and_ends_by_itself(processes: list[Process]) -> None:
    worker, child = processes

    carry_out(FaultKind.WORKER_HUNG, Victim(worker_pid=worker.pid, child_pid=child.pid), hang_seconds=1)

    wait_until(lambda: is_stopped(worker.pid) and is_stopped(child.pid), 5, "both are stopped")
    wait_until(lambda: not is_stopped(child.pid), 10, "the child goes on")
    wait_until(lambda: not is_stopped(worker.pid), 10, "the worker goes on")
    wait_until(lambda: all(clock.poll() is not None for clock in helpers._started), 5, "no helper is left")


def test_hang_can_be_ended_early(processes: list[Process]) -> None:
    victim = Victim(worker_pid=processes[0].pid, child_pid=processes[1].pid)
    carry_out(FaultKind.WORKER_HUNG, victim, hang_seconds=2)
    wait_until(lambda: all(is_stopped(each.pid) for each in processes), 5, "both are stopped")

    resume(victim)

    wait_until(lambda: not any(is_stopped(each.pid) for each in processes), 1, "both go on")


def requested_faults(client: Redis, child: Process | None) -> RequestedFaults:
    return RequestedFaults(gpu=3, child_pid=lambda: child.pid if child else None, redis=client)


def test_the_thread_carries_out_one_request_each_tick(
    client: Redis, processes: list[Process], nothing_recorded: list[FaultKind]
) -> None:
    a_beat(client)
    for _ in range(2):
        fault_requests.inject(FaultKind.CHILD_KILLED, 3, client, actor="somebody")

    assert requested_faults(client, processes[1]).tick(0.0)

    assert processes[1].wait(10) == -signal.SIGKILL
    assert client.llen(requests_key(3)) == 1


def test_without_a_request_nothing_happens(client: Redis, processes: list[Process]) -> None:
    assert requested_faults(client, processes[1]).tick(0.0)

    assert processes[1].poll() is None


def test_an_unavailable_broker_is_left_to_the_heartbeat_to_report(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with Redis.from_url("redis://127.0.0.1:1") as unreachable:
        assert not requested_faults(unreachable, None).tick(0.0)

    assert not caplog.records


def test_a_key_of_the_wrong_type_does_not_end_the_thread(client: Redis) -> None:
    client.set(requests_key(3), "not a list")

    assert not requested_faults(client, None).tick(0.0)
