"""F1: a hint that is lost costs its job a few seconds, never the job."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from random import Random

import pytest

from scheduler.broker import hints
from scheduler.broker.hints import queue_key
from scheduler.loops.relay import LOST_AFTER_SECONDS, Relay
from scheduler.models import Job
from scheduler.rules.states import JobState
from tests.build import let_wait, queued, reread, submit
from tests.services import wait_until
from tests.with_cluster.unix_session import is_stopped
from tests.with_database.gpu_worker import GpuWorker, wait_for_end
from tests.with_database.taking import run, take

pytestmark = pytest.mark.usefixtures("gpus")

TICK_SECONDS = 0.5


# --- a worker that dies at the wrong moment


def is_in_no_key(redis, job: Job) -> bool:
    return redis.llen(queue_key(job.priority)) == 0 and redis.keys("*unacked*") == []


def hand_to_a_dead_worker(redis, folder: Path, relay: Relay) -> Job:
    """The broker pops the job's hint for a real worker that waits for one and was stopped; then kill -9. Redis has
    lost it."""
    job = queued()
    let_wait(3)
    assert relay.tick(0.0) == 1
    queue = queue_key(job.priority)
    hint = redis.rpop(queue)
    with GpuWorker(redis, folder) as worker:
        for _ in range(50):
            os.kill(worker.pid, signal.SIGSTOP)
            wait_until(lambda: is_stopped(worker.pid), 5, worker.tail)
            redis.lpush(queue, hint)
            if is_in_no_key(redis, job):
                break
            # Stopped between two of its waits, or for longer than one lasts: once more.
            assert redis.rpop(queue) == hint
            os.kill(worker.pid, signal.SIGCONT)
            wait_until(lambda: any("b" in client["flags"] for client in redis.client_list()), 10, worker.tail)
        worker.kill()
    assert is_in_no_key(redis, job)
    return job


def look_for_a_minute(relay: Relay) -> float | None:
    """The relay's own looks; gives the seconds until it sent something."""
    for tick in range(1, 120):
        if relay.tick(tick * TICK_SECONDS):
            return tick * TICK_SECONDS
    return None


@pytest.mark.parametrize("database_settings", ["sqlite"], indirect=True, scope="session")
def test_a_job_whose_hint_died_with_its_worker_runs_on_another(redis, tmp_path):
    relay = Relay(redis)
    job = hand_to_a_dead_worker(redis, tmp_path, relay)

    found_after = look_for_a_minute(relay)

    assert found_after == LOST_AFTER_SECONDS
    with GpuWorker(redis, tmp_path, gpu=1) as other:
        assert wait_for_end(job, 10, other.tail()).state == JobState.SUCCEEDED


@pytest.mark.mutant("sent_is_never_lost")
@pytest.mark.parametrize("database_settings", ["sqlite"], indirect=True, scope="session")
def test_without_the_relays_look_that_job_is_lost(redis, tmp_path):
    relay = Relay(redis)
    job = hand_to_a_dead_worker(redis, tmp_path, relay)

    assert look_for_a_minute(relay) is None

    assert reread(job).state == "queued"
    assert is_in_no_key(redis, job)


# --- a backlog that never ends

#: A small one fills as well as a large one.
WINDOW = 100
ROUNDS, TAKEN_A_ROUND, LOST_SHARE = 30, 10, 0.4


@pytest.fixture
def small_window(monkeypatch):
    monkeypatch.setattr(hints, "WINDOW", WINDOW)


def under_a_full_window(redis) -> tuple[list[float], int]:
    """GPUs take hints from a window that is always full, and two of five are lost. Gives the seconds after
    which each lost one lay in its queue again, and how many never did."""
    relay, rng = Relay(redis), Random(7)
    submit(WINDOW + 50)
    let_wait(3)
    lost: dict[tuple[int, int], float] = {}
    found: list[float] = []
    for tick in range(ROUNDS):
        now = tick * TICK_SECONDS
        submit(TAKEN_A_ROUND)
        let_wait(3)
        relay.tick(now)
        lying = hints.waiting(redis)["normal"]
        assert len(lying) >= WINDOW
        found += [now - lost.pop(key) for key in lying & lost.keys()]
        for hint in (take(redis) for _ in range(TAKEN_A_ROUND)):
            assert hint is not None
            if rng.random() < LOST_SHARE and now < (ROUNDS - 1) * TICK_SECONDS - LOST_AFTER_SECONDS:
                lost[hint] = now
            else:
                run(hint)
    return found, len(lost)


@pytest.mark.usefixtures("small_window")
def test_lost_hints_are_found_under_a_permanent_backlog(redis):
    found, never = under_a_full_window(redis)

    print(f"{len(found)} of {len(found) + never} lost hints found, after {min(found)} to {max(found)} s")
    assert len(found) > 50
    assert never == 0
    assert max(found) <= LOST_AFTER_SECONDS + TICK_SECONDS


@pytest.mark.mutant("sent_is_never_lost")
@pytest.mark.usefixtures("small_window")
def test_without_it_none_of_them_is(redis):
    found, never = under_a_full_window(redis)

    assert found == []
    assert never > 50


def test_a_hint_that_was_only_taken_a_moment_ago_is_not_taken_for_lost(redis):
    [job] = submit()
    let_wait(3)
    relay = Relay(redis)
    relay.tick(0.0)
    assert take(redis) == (job.id, 1)

    assert [relay.tick(tick * TICK_SECONDS) for tick in range(1, 10)] == [0] * 9
