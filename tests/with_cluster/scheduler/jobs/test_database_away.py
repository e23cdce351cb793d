"""The database locked (SQLite) and away (PostgreSQL): submitting says so, results are kept, nobody is thought dead."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from threading import Timer

import psycopg
import pytest

from tests.conftest import missing
from tests.services import PostgresServer, wait_until
from tests.with_cluster.cluster import Cluster
from tests.with_cluster.storms import Load, Submitted, load, submit_for

GPU_COUNT = 2

#: Longer than any writer waits (20 s): to a worker that is a database that is away. Promised is 30 s.
LOCKED_SECONDS = 23.0
#: Above the 9 s of silence after which a worker is dead.
AWAY_SECONDS = 12.0

#: How long the web process waits for a lock (5 s), and what an answer takes on a busy machine.
ANSWER_SECONDS = 9.0


def assert_refused_politely(submitted: Submitted) -> None:
    assert set(submitted.statuses) == {503}
    assert all(submitted.retry_after), submitted
    assert max(submitted.seconds) < ANSWER_SECONDS, submitted.seconds


def assert_goes_on(cluster: Cluster, before: Load) -> None:
    wait_until(lambda: cluster.api.http.post("/api/jobs", json={"type": "sleep"}).status_code == 202, 15, cluster.tail)
    before.assert_unhurt(seconds=60)


@contextmanager
def locked(cluster: Cluster) -> Iterator[None]:
    path = cluster.state_dir / "cluster.sqlite3"
    with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        yield
        lock.execute("ROLLBACK")


def test_a_locked_database(cluster: Cluster) -> None:
    before = load(cluster, running_seconds=2)
    with locked(cluster):
        submitted = submit_for(cluster, LOCKED_SECONDS)
        kept = list((cluster.state_dir / "spool").rglob("*.json"))

    assert_refused_politely(submitted)
    # What ended meanwhile lies on disk, and is committed now.
    assert len(kept) == cluster.gpu_count, kept
    assert_goes_on(cluster, before)
    assert list((cluster.state_dir / "spool").rglob("*.json")) == []


@pytest.fixture
def database() -> Iterator[PostgresServer]:
    """One of its own: stopped, it serves nobody else."""
    if not PostgresServer.is_installed():
        missing("PostgreSQL")
    with PostgresServer() as server:
        with psycopg.connect(host=server.host, user=server.role, dbname="postgres", autocommit=True) as connection:
            connection.execute("CREATE DATABASE cluster")
        yield server


def test_a_database_that_is_away(database: PostgresServer) -> None:
    with Cluster(gpus=GPU_COUNT, environment={"DATABASE_URL": database.url("cluster")}) as cluster:
        before = load(cluster, running_seconds=3)
        database.stop()
        back = Timer(AWAY_SECONDS, database.start)
        back.start()
        try:
            submitted = submit_for(cluster, AWAY_SECONDS - 1)
        finally:
            back.join()

        assert_refused_politely(submitted)
        assert_goes_on(cluster, before)
        cluster.api.change_control(rate_per_minute=600, paused=False)
        wait_until(lambda: cluster.api.jobs(source="generator"), 10, cluster.tail)
        # Each process says it once, not with every try.
        noisy = [line for line in cluster.output().splitlines() if "Traceback" in line]
        assert not noisy, cluster.output()
