"""A message that this cluster did not send never reaches a consumer; one that it sent does."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from kombu import Connection, Queue, pools

from scheduler.broker import hints
from scheduler.broker.dead_letters import dead_letter_count_key, dead_letters_key
from scheduler.broker.hints import Hint, queue_key
from scheduler.broker.transport import _own_connection
from scheduler.celery import app, job_queue
from scheduler.redis_client import KEY_PREFIX
from scheduler.rules.states import Priority
from tests.unit.scheduler.broker.test_message_format import WRONG


@pytest.fixture
def redis(valkey_server):
    with valkey_server.client() as client:
        client.flushall()
        yield client
    # Closed, and forgotten: the next sender opens a pool of its own.
    app.pool.force_close_all()
    app._pool = app.amqp._producer_pool = None
    pools.reset()
    _own_connection().close()


@pytest.fixture
def connection(redis):
    with Connection(app.conf.broker_url, transport_options=app.conf.broker_transport_options) as connection:
        yield connection


@pytest.fixture
def known_task():
    @app.task(name="gpu_tasks.sleep")
    def sleep(job_id, attempt):
        """Known by name; nobody runs it here."""

    yield
    app.tasks.pop("gpu_tasks.sleep", None)


def test_good_hints_pass_between_bad_messages_of_every_kind(redis, connection, known_task):
    for number, item in enumerate(WRONG.values(), 1):
        redis.lpush(queue_key("high"), item)
        hints.send([Hint(job_id=number, attempt=1, type="sleep", queue=Priority.HIGH)])

    got = consume(connection, len(WRONG))

    assert [args for args, _, _ in got] == [[number, 1] for number in range(1, len(WRONG) + 1)]
    assert int(redis.get(dead_letter_count_key())) == len(WRONG)
    letters = [json.loads(letter) for letter in redis.lrange(dead_letters_key(), 0, -1)]
    assert {letter["queue"] for letter in letters} == {"high"}
    assert base64.b64decode(letters[-1]["base64"]) == next(iter(WRONG.values()))
    assert redis.llen(queue_key("high")) == 0


def test_hints_in_a_tiers_queue_pass_too(redis, connection, known_task):
    redis.lpush(queue_key("high.80g"), b"{")
    hints.send([Hint(job_id=1, attempt=2, type="sleep", queue="high.80g")])

    [(args, _, _)] = consume(connection, 1, job_queue("high.80g"))

    assert args == [1, 2]

    [letter] = redis.lrange(dead_letters_key(), 0, -1)
    assert json.loads(letter)["queue"] == "high.80g"


def test_a_returned_hint_is_received_next(redis, connection, known_task):
    hints.send([Hint(job_id=number, attempt=1, type="sleep", queue="high") for number in (1, 2, 3)])

    def give_the_first_back(message: Any) -> None:
        message.reject(requeue=True) if len(got) == 1 else message.ack()

    got: list[Any] = []
    consume(connection, 4, then=give_the_first_back, got=got)

    assert [args[0] for args, _, _ in got] == [1, 1, 2, 3]
    assert redis.keys("*unacked*") == []


def test_what_workers_answer_to_a_question_reaches_the_asker(redis, connection):
    answers = app.control.mailbox.get_reply_queue()(connection.default_channel)
    answers.declare()
    connection.Producer().publish({"gpu-0": "yes"}, exchange=answers.exchange, routing_key=answers.routing_key)

    assert consume(connection, 1, answers) == [{"gpu-0": "yes"}]

    assert redis.llen(dead_letters_key()) == 0


def consume(
    connection: Connection,
    count: int,
    queue: Queue | None = None,
    *,
    then: Callable[[Any], None] = lambda message: message.ack(),
    got: list[Any] | None = None,
) -> list[Any]:
    """Payloads from the queue (that of priority high), through the asynchronous path that a worker takes."""
    from kombu.asynchronous import Hub

    got = [] if got is None else got

    def on_message(message: Any) -> None:
        got.append(message.payload)
        then(message)

    hub = Hub()
    connection.register_with_event_loop(hub)
    with connection.Consumer([queue or job_queue("high")], on_message=on_message):
        loop = hub.create_loop()
        for _ in range(20_000):
            next(loop)
            if len(got) == count:
                break
    hub.close()
    return got


def test_a_consumer_starts_although_its_queues_key_is_no_list(redis, connection):
    """The first thing that a consumer asks is the length of its queues."""
    redis.set(queue_key("high"), "not a list")

    job_queue("high")(connection.default_channel).queue_declare()

    assert redis.get(f"{KEY_PREFIX}set-aside:high") == b"not a list"
    assert int(redis.get(dead_letter_count_key())) == 1
