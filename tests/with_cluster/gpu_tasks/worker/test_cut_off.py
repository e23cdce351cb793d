"""Workers without the database, and without broker and database: nothing is lost, done twice, or charged."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import psycopg
import pytest

from scheduler.loops.heartbeats import SILENCE_SECONDS
from tests.conftest import missing
from tests.services import PostgresServer, wait_until
from tests.with_cluster.api import Job, assert_ended_once, events_of, story
from tests.with_cluster.cluster import Cluster
from tests.with_cluster.unix_session import is_alive

GPU_COUNT = 2


@pytest.fixture(scope="module")
def database() -> Iterator[PostgresServer]:
    """Of this module alone: it is stopped."""
    if not PostgresServer.is_installed():
        missing("PostgreSQL")
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="module")
def running_cluster(database: PostgresServer) -> Iterator[Cluster]:
    name = f"cut_off_{uuid4().hex}"
    with psycopg.connect(host=database.host, user=database.role, dbname="postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    with Cluster(gpus=GPU_COUNT, environment={"DATABASE_URL": database.url(name)}) as cluster:
        yield cluster


@contextmanager
def stopped(database: PostgresServer) -> Iterator[None]:
    database.stop()
    try:
        yield
    finally:
        database.start()


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def wait_until_it_answers(cluster: Cluster) -> None:
    wait_until(cluster.api.is_ready, 30, lambda: f"the web process is ready\n{cluster.tail()}")


def kept_results(cluster: Cluster) -> list[tuple[int, int]]:
    names = [path.stem.split("-") for path in cluster.state_dir.glob("spool/gpu-*/*.json")]
    return sorted((int(job_id), int(attempt)) for job_id, attempt in names)


def was_left_alone(job: Job) -> bool:
    return job["state"] == "succeeded" and job["failures"] == 0 and len(events_of(job, "started")) == 1


def test_results_are_kept_while_the_database_is_unavailable_and_no_hint_is_lost(
    cluster: Cluster, database: PostgresServer
) -> None:
    running = cluster.api.submit(count=GPU_COUNT, params={"seconds": 3})
    waiting = cluster.api.submit(count=4)
    for job_id in running:
        cluster.api.wait_for_event(job_id, "started")
    expected = [(job_id, 1) for job_id in sorted(running)]
    with stopped(database):
        wait_until(lambda: kept_results(cluster) == expected, 20, lambda: f"{kept_results(cluster)}\n{cluster.tail()}")
        first = {beat.gpu: beat.seq for beat in cluster.beats().values()}
        # Whole beats later each worker still lists what it keeps, and takes nothing.
        wait_until(lambda: all(beat.seq >= first[beat.gpu] + 3 for beat in cluster.beats().values()), 20)
        assert sorted(key for beat in cluster.beats().values() for key in beat.held) == expected
        assert {beat.note for beat in cluster.beats().values()} == {"the database is unavailable"}
    wait_until_it_answers(cluster)

    jobs = cluster.api.wait_for_jobs([*running, *waiting])

    assert all(was_left_alone(job) for job in jobs), "\n".join(map(story, jobs))
    assert kept_results(cluster) == []


def test_job_of_a_worker_that_is_cut_off_is_killed_and_requeued_without_a_charge(
    cluster: Cluster, database: PostgresServer
) -> None:
    job_id = cluster.api.submit_one(params={"seconds": 120})
    child = cluster.child_pid(cluster.api.wait_for_event(job_id, "started")["gpu"])

    with stopped(database), frozen(cluster.pid("broker")):
        wait_until(lambda: not is_alive(child), SILENCE_SECONDS + 8, lambda: f"{child} ends\n{cluster.tail()}")

    wait_until_it_answers(cluster)
    requeued = cluster.api.wait_for_event(job_id, "requeued")
    assert (requeued["reason"], requeued["charged"]) == ("claim_lost", False)
    cluster.api.wait_for_event(job_id, "started", attempt=2)
    cluster.api.cancel(job_id)
    job = cluster.api.wait_for_job(job_id)
    assert (job["state"], job["failures"]) == ("cancelled", 0), story(job)
    assert_ended_once(job)
