"""A GPU worker with a guardian of its own, as in a container: killed, it is back at once."""

from __future__ import annotations

import os
import signal
from typing import Final

import pytest

from gpu_tasks.processes.cluster_pids import is_alive, parent_of
from scheduler.broker import hints
from scheduler.broker.hints import Hint
from scheduler.loops.heartbeats import Beat
from scheduler.models import Job
from scheduler.rules.states import JobState
from tests.build import make_due, queued, reread
from tests.services import wait_until
from tests.with_database.gpu_worker import GpuWorker, wait_for_end

pytestmark = [
    pytest.mark.usefixtures("gpus"),
    pytest.mark.parametrize("database_settings", ["sqlite"], indirect=True, scope="session"),
]

BACK_SECONDS: Final = 20


@pytest.fixture
def worker(redis, tmp_path):
    with GpuWorker(redis, tmp_path, guarded=True) as guarded:
        yield guarded


def runs_here(worker: GpuWorker, seconds: float) -> Job:
    job = queued(params={"seconds": seconds})
    send_hint(job)
    wait_until(lambda: reread(job).state == JobState.RUNNING, 10, worker.tail)
    return job


def send_hint(job: Job) -> None:
    """No relay is here to do so."""
    hints.send([Hint(job_id=job.id, attempt=job.attempt, type=job.type, queue="normal")])


def beat_of(worker: GpuWorker) -> Beat:
    beat = worker.beat()
    assert beat is not None
    return beat


def has_successor(worker: GpuWorker, before: Beat) -> bool:
    beat = worker.beat()
    return beat is not None and beat.boot != before.boot


def test_a_killed_worker_is_back_without_its_guardian_s_end_and_its_job_runs_again(worker):
    guardian, before = worker.pid, beat_of(worker)
    job = runs_here(worker, seconds=2)

    os.kill(before.pid, signal.SIGKILL)

    wait_until(lambda: has_successor(worker, before), BACK_SECONDS, worker.tail)
    again = reread(job)
    make_due(again)
    send_hint(again)
    ended = wait_for_end(job, 30, worker.tail())
    assert (ended.state, ended.attempt, ended.failures) == (JobState.SUCCEEDED, 2, 1)
    assert parent_of(beat_of(worker).pid) == guardian
    assert not is_alive(before.child_pid), "its job's process is gone too"


def test_a_stop_reaches_the_worker_and_the_job_is_requeued_without_a_charge(worker):
    job = runs_here(worker, seconds=60)
    pid = beat_of(worker).pid

    worker.stop()

    job.refresh_from_db()
    assert (job.state, job.failures) == (JobState.QUEUED, 0)
    assert not is_alive(pid)
    assert worker.exit_code == 0, worker.tail()


def test_a_worker_does_not_outlive_its_guardian(worker):
    before = beat_of(worker)

    worker.kill()

    wait_until(lambda: not is_alive(before.pid) and not is_alive(before.child_pid), 5, worker.tail)
