"""F6: malformed messages of any kind never stop a worker. A real worker, on a real broker."""

from __future__ import annotations

import json
import time

import pytest
from kombu import pools

from scheduler.broker import hints
from scheduler.broker.dead_letters import dead_letters_key
from scheduler.broker.hints import Hint, queue_key
from scheduler.celery import CONTROL_QUEUE, app
from scheduler.models import Job
from scheduler.redis_client import KEY_PREFIX
from scheduler.rules.queues import PLAIN_QUEUES
from scheduler.rules.states import JobState
from tests.build import queued, reread
from tests.mutants.source import source_without
from tests.services import wait_until
from tests.with_database.gpu_worker import GpuWorker, wait_for_end
from tests.with_database.malformed import MESSAGES, ORDERS, RAW

pytestmark = [
    # What is about a worker and its broker is not asked of both databases.
    pytest.mark.parametrize("database_settings", ["sqlite"], indirect=True, scope="session"),
    pytest.mark.usefixtures("transactional_db"),
]

#: Promised: good jobs go on within this.
GOOD_JOBS_SECONDS = 5

ORDERS_CHANNEL = f"{KEY_PREFIX}/0.celery.pidbox"


@pytest.fixture(autouse=True)
def _own_connections(redis):
    yield
    app.pool.force_close_all()
    app._pool = app.amqp._producer_pool = None
    pools.reset()


@pytest.fixture
def worker(redis, tmp_path):
    with GpuWorker(redis, tmp_path) as worker:
        yield worker


def sent(**fields) -> Job:
    """A job whose hint lies in its queue, last."""
    job = queued(**fields)
    hints.send([Hint(job_id=job.id, attempt=1, type=job.type, queue=job.priority)])
    return job


def assert_good_jobs_go_on(worker: GpuWorker, boot: str) -> None:
    since = time.monotonic()
    for priority in PLAIN_QUEUES:
        assert wait_for_end(sent(priority=priority), GOOD_JOBS_SECONDS, worker.tail()).state == JobState.SUCCEEDED
    print(f"good jobs of all queues done {time.monotonic() - since:.2f} s later")
    assert worker.beat().boot == boot


def test_there_are_enough_kinds():
    assert len(MESSAGES) > 40
    assert len(ORDERS) > 40


def test_a_worker_runs_on_whatever_lies_in_its_queues(worker, redis):
    boot = worker.beat().boot
    redis.lpush(queue_key("normal"), *MESSAGES.values())
    for queue in PLAIN_QUEUES:
        redis.lpush(queue_key(queue), *RAW.values())

    good = wait_for_end(sent(priority="critical"), GOOD_JOBS_SECONDS, worker.tail())

    assert good.state == JobState.SUCCEEDED
    wait_until(lambda: not any(redis.llen(queue_key(queue)) for queue in PLAIN_QUEUES), 40, worker.tail)
    assert_good_jobs_go_on(worker, boot)
    letters = [json.loads(letter) for letter in redis.lrange(dead_letters_key(), 0, -1)]
    print(f"{len(MESSAGES)} kinds, {len(letters)} dead letters")
    assert {letter["queue"] for letter in letters} == set(PLAIN_QUEUES)
    assert redis.keys("*unacked*") == []


def test_without_the_guard_they_stop_the_worker(redis, tmp_path):
    with GpuWorker(redis, tmp_path, source=source_without("no_guard")) as worker:
        redis.lpush(queue_key("high"), *MESSAGES.values())
        good = sent(priority="high")

        wait_until(worker.has_ended, 20, worker.tail)

    assert reread(good).state == JobState.QUEUED


def test_a_worker_runs_on_whatever_it_is_ordered_by_remote_control(worker, redis):
    boot = worker.beat().boot

    for order in ORDERS.values():
        assert redis.publish(ORDERS_CHANNEL, order) == 1

    assert_good_jobs_go_on(worker, boot)
    assert [*app.control.ping(timeout=5, limit=1)[0].values()] == [{"ok": "pong"}]
    letters = [json.loads(letter) for letter in redis.lrange(dead_letters_key(), 0, -1)]
    print(f"{len(ORDERS)} kinds, {len(letters)} dead letters")
    assert {letter["queue"] for letter in letters} == {"/0.celery.pidbox"}
    assert len(letters) > 100


def test_a_queues_key_of_another_type_is_set_aside(worker, redis):
    boot = worker.beat().boot
    redis.set(queue_key("critical"), "not a list")
    redis.hset(queue_key("high"), "not", "a list")

    wait_until(lambda: not redis.exists(queue_key("critical"), queue_key("high")), GOOD_JOBS_SECONDS, worker.tail)

    assert_good_jobs_go_on(worker, boot)
    assert redis.get(f"{KEY_PREFIX}set-aside:critical") == b"not a list"
    assert redis.hgetall(f"{KEY_PREFIX}set-aside:high") == {b"not": b"a list"}


def test_a_note_of_an_unacknowledged_message_that_cannot_be_read_is_a_dead_letter(redis):
    with app.connection_for_read() as connection:
        channel = connection.default_channel
        notes = {
            "1": b"{",
            "2": b"7",
            "3": b"[" * 9000,
            "4": json.dumps([{"headers": {}}, "x", CONTROL_QUEUE]).encode(),
        }
        redis.hset(f"{KEY_PREFIX}{channel.unacked_key}", mapping=notes)
        redis.zadd(f"{KEY_PREFIX}{channel.unacked_index_key}", dict.fromkeys(notes, 1.0))

        channel.qos.restore_visible()

    assert redis.keys("*unacked*") == []
    assert redis.llen(dead_letters_key()) == 3
