"""F3: whoever was taken for dead and wakes up changes nothing, whatever happens to its successor."""

from __future__ import annotations

import json

import pytest
from kombu import Connection

from scheduler.broker import hints
from scheduler.broker.hints import Hint, queue_key
from scheduler.celery import app, job_queue
from scheduler.jobs import lifecycle
from scheduler.loops.reaper import Reaper
from scheduler.loops.relay import Relay
from scheduler.models import Allocation, Tally
from scheduler.rules.states import JobState, Reason
from tests.build import let_wait, make_due, queued, reread, running, story

pytestmark = pytest.mark.usefixtures("gpus")

TERMINAL = {"succeeded", "failed", "cancelled"}


@pytest.fixture
def successor():
    """A job that was taken from GPU 0, which only slept, and that GPU 1 runs now."""
    job = running(gpu=0, boot="boot-0")
    lifecycle.requeue(job.id, 1, Reason.WORKER_DIED)
    make_due(job)
    lifecycle.claim(job.id, 2, gpu=1, boot="boot-1")
    return job


def results(job) -> list[tuple[str, int]]:
    return [(kind, attempt) for _, kind, attempt in story(job) if kind in TERMINAL]


def test_the_late_result_is_refused_and_counted_and_the_successors_stands(successor):
    assert lifecycle.end(successor.id, 1, JobState.FAILED, reason=Reason.JOB_ERROR) is False
    assert lifecycle.end(successor.id, 2, JobState.SUCCEEDED) is True

    assert results(successor) == [("succeeded", 2)]
    assert Tally.objects.total("commit_refused") == 1
    assert not Allocation.objects.exists()


@pytest.mark.mutant("no_fence")
def test_without_the_fence_two_results_are_recorded(successor):
    assert lifecycle.end(successor.id, 1, JobState.FAILED, reason=Reason.JOB_ERROR) is True
    assert lifecycle.end(successor.id, 2, JobState.SUCCEEDED) is True

    assert results(successor) == [("failed", 1), ("succeeded", 2)]


@pytest.fixture
def broker(redis):
    with Connection(app.conf.broker_url, transport_options=app.conf.broker_transport_options) as connection:
        yield connection


@pytest.fixture
def vanished(redis, broker):
    """A job on GPU 1, of whose message the broker knows nothing any more: the worker that was paused has
    acknowledged the copy that was delivered again, under the same delivery tag, to its successor."""
    job = queued()
    hints.send([Hint(job_id=job.id, attempt=1, type=job.type, queue="normal")])
    paused, channel = broker.channel(), broker.channel()
    taken = paused.basic_get(job_queue("normal").name)
    assert taken is not None
    paused.qos.restore_by_tag(taken.delivery_tag)
    again = channel.basic_get(job_queue("normal").name)
    assert again is not None
    assert again.delivery_tag == taken.delivery_tag
    lifecycle.claim(job.id, 1, gpu=1, boot="boot-1")
    paused.basic_ack(taken.delivery_tag)
    channel.qos._delivered.clear()
    assert redis.keys("*unacked*") == []
    assert redis.llen(queue_key("normal")) == 0
    return job


def die_and_heal(redis) -> None:
    """GPU 1 dies without a word; then relay and reaper look, for long enough."""
    reaper, relay = Reaper(redis), Relay(redis)
    for half_seconds in range(30):
        reaper.tick(100 + half_seconds / 2)
    let_wait(3)
    relay.tick(200)


def test_a_job_whose_message_is_gone_is_hinted_again_when_its_worker_dies(redis, vanished):
    die_and_heal(redis)

    assert (reread(vanished).state, reread(vanished).attempt) == ("queued", 2)
    [message] = redis.lrange(queue_key("normal"), 0, -1)
    assert json.loads(message)["headers"]["id"] == f"{vanished.id}-2"


@pytest.mark.mutant("no_reaper")
def test_without_the_reaper_that_job_is_lost(redis, vanished):
    die_and_heal(redis)

    assert reread(vanished).state == "running"
    assert redis.llen(queue_key("normal")) == 0
