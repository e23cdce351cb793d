"""F10: what must wait, waits in its row, not in a worker's memory."""

from __future__ import annotations

import ast
import json

import pytest

from scheduler.broker import hints
from scheduler.broker.hints import Hint, queue_key
from scheduler.jobs import lifecycle
from scheduler.jobs.lifecycle import Claimed
from scheduler.loops.relay import Relay
from scheduler.rules.after_failure import BACKOFF_SECONDS
from scheduler.rules.placement import ClaimRefusal
from scheduler.rules.states import Reason
from tests.build import let_wait, queued, running
from tests.project import ROOT

pytestmark = pytest.mark.usefixtures("gpus")


@pytest.fixture
def failed_just_now():
    """A job that waits for its second attempt."""
    job = running(gpu=0)
    lifecycle.requeue(job.id, 1, Reason.WORKER_DIED)
    return job


def test_a_job_is_neither_hinted_nor_started_before_its_back_off_has_passed(redis, failed_just_now):
    assert Relay(redis).tick(0.0) == 0
    assert lifecycle.claim(failed_just_now.id, 2, gpu=1, boot="boot-1") is ClaimRefusal.STALE

    let_wait(BACKOFF_SECONDS[0] + 0.1)

    assert Relay(redis).tick(0.0) == 1
    assert isinstance(lifecycle.claim(failed_just_now.id, 2, gpu=1, boot="boot-1"), Claimed)


@pytest.mark.mutant("starts_before_its_time")
def test_without_it_the_job_starts_again_at_once(redis, failed_just_now):
    assert Relay(redis).tick(0.0) == 1
    assert isinstance(lifecycle.claim(failed_just_now.id, 2, gpu=1, boot="boot-1"), Claimed)


def test_no_message_carries_a_time_to_wait_for(redis):
    job = queued()

    hints.send([Hint(job_id=job.id, attempt=1, type=job.type, queue="normal")])

    [message] = redis.lrange(queue_key("normal"), 0, -1)
    assert json.loads(message)["headers"]["eta"] is None


def test_nobody_asks_celery_to_wait():
    for path in [
        path for room in ("scheduler", "gpu_tasks", "cluster_dashboard") for path in (ROOT / room).rglob("*.py")
    ]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                words = {keyword.arg for keyword in node.keywords}
                assert not words & {"eta", "countdown"}, f"{path}:{node.lineno}"
