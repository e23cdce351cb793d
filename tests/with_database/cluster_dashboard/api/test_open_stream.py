"""Many open streams of a real server: they are limited, cost no thread and no connection, and stop nothing else."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import pytest
from django.core.signals import request_finished
from django.db import connection, connections

from cluster_dashboard.api import follow, one_job
from cluster_dashboard.api.http import open_stream
from cluster_dashboard.asgi import application
from cluster_dashboard.places import Places
from scheduler.models import Job
from tests.build import running
from tests.services import wait_until
from tests.web_server import served

pytestmark = pytest.mark.usefixtures("control", "gpus", "redis")


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> Places:
    found = Places(in_all=30, for_each=20)
    monkeypatch.setattr(open_stream, "PLACES", found)
    return found


@pytest.fixture
def port(places: Places) -> Iterator[int]:
    def close(**_: object) -> None:
        connections.close_all()

    request_finished.connect(close)
    with served(application) as found:
        yield found
        follow.end_streams()
    request_finished.disconnect(close)


class Client:
    """address: of this machine, from which it asks."""

    def __init__(self, port: int, address: str = "127.0.0.1") -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=20, source_address=(address, 0))

    def get(self, path: str) -> HTTPResponse:
        self._connection.request("GET", path, headers={"Host": "localhost"})
        return self._connection.getresponse()

    def follow(self, job: Job) -> HTTPResponse:
        answer = self.get(f"/api/jobs/{job.id}/events")
        if answer.status == 200:
            assert answer.readline().startswith(b"id: ")
        return answer

    def close(self) -> None:
        if self._connection.sock is not None:
            self._connection.sock.shutdown(socket.SHUT_RDWR)
        self._connection.close()


def open_streams(port: int, job: Job, clients: ExitStack, *, count: int, address: str) -> list[int]:
    found = []
    for _ in range(count):
        client = Client(port, address)
        clients.callback(client.close)
        found.append(client.follow(job).status)
    return found


def connections_of_postgres() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        return int(cursor.fetchone()[0])


def test_client_has_a_limit_and_all_clients_together_have_one(port: int, places: Places) -> None:
    job = running()
    with ExitStack() as clients:
        first = open_streams(port, job, clients, count=21, address="127.0.0.2")
        others = open_streams(port, job, clients, count=11, address="127.0.0.3")

        assert first == [200] * 20 + [503]
        assert others == [200] * 10 + [503]

        refused = Client(port, "127.0.0.4")
        answer = refused.follow(job)
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert "the limit is 30, and 20 for each client" in json.loads(answer.read())["detail"]
        refused.close()

    wait_until(lambda: places.taken == 0, seconds=10)


def test_open_streams_hold_no_thread_and_no_connection_and_health_is_answered(port: int) -> None:
    job = running()
    before = threading.active_count()
    with ExitStack() as clients:
        assert open_streams(port, job, clients, count=20, address="127.0.0.2") == [200] * 20

        # One thread reads the jobs of all streams; one closes their answers.
        wait_until(lambda: threading.active_count() <= before + 3, seconds=10)
        if connection.vendor == "postgresql":
            # This one, and the one of the thread that reads.
            wait_until(lambda: connections_of_postgres() <= 2, seconds=10)
        health = Client(port)
        answer = health.get("/healthz")
        assert (answer.status, json.loads(answer.read())["status"]) == (200, "ok")
        health.close()


def test_answer_that_nobody_closes_leaves_its_place(places: Places, rf: Any) -> None:
    async def events() -> Any:
        yield b""

    answer = open_stream.OpenStream(rf.get("/"), events())
    assert places.taken == 1

    del answer

    assert places.taken == 0


def test_client_that_waits_too_often_is_answered_at_once(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_job, "_places", Places(in_all=2, for_each=0))
    job = running()
    client = Client(port)

    answer = client.get(f"/api/jobs/{job.id}?wait=60")

    assert (answer.status, json.loads(answer.read())["state"]) == (200, "running")
    client.close()
