"""When a worker that hears neither Redis nor the database kills its job."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from gpu_tasks.processes import job_processes
from gpu_tasks.worker.child_watch import ChildWatch
from gpu_tasks.worker.cut_off import ANSWER_SECONDS, CUT_OFF_PERIOD_SECONDS, CutOff
from gpu_tasks.worker.held import Held
from gpu_tasks.worker.valve import DATABASE_UNAVAILABLE, Valve
from scheduler.loops.heartbeats import SILENCE_SECONDS


class Worker:
    """A worker with a running job, whose broker and database have just answered for the last time."""

    def __init__(self) -> None:
        self.killed: list[int] = []
        self.now = self.heard_at = time.monotonic()
        self.held = Held()
        nothing: Any = None
        pool: Any = SimpleNamespace(consume=lambda queues: None)
        self.valve = Valve(gpu=0, boot="boot", held=self.held, commit=nothing, pool=pool, reading_of_gpu=nothing)
        child = ChildWatch(gpu=0, held=self.held, commit=nothing, valve=self.valve, pool=pool, record=nothing)
        self.cut_off = CutOff(gpu=0, held=self.held, valve=self.valve, child=child, heard_at=lambda: self.heard_at)
        self.held.running(7, 1, time_limit_seconds=300, memory_mib=0, load=1.0)

    def live(self, seconds: float, *, database: bool = False, broker: bool = False) -> None:
        until = self.now + seconds
        while self.now < until:
            self.now += CUT_OFF_PERIOD_SECONDS
            if database:
                self.valve.answered_at = self.now
            if broker:
                self.heard_at = self.now
            self.cut_off.tick(self.now)


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    worker = Worker()
    monkeypatch.setattr(job_processes, "kill", worker.killed.append)
    return worker


def test_the_job_ends_after_a_whole_term_without_both(worker: Worker) -> None:
    worker.live(SILENCE_SECONDS - CUT_OFF_PERIOD_SECONDS)
    assert not worker.killed

    worker.live(3)

    assert len(worker.killed) == 1


@pytest.mark.parametrize("answers", ["database", "broker"])
def test_the_job_goes_on_while_one_of_them_answers(worker: Worker, answers: str) -> None:
    worker.live(5 * SILENCE_SECONDS, database=answers == "database", broker=answers == "broker")

    assert not worker.killed


def test_the_term_begins_with_the_last_answer_of_either(worker: Worker) -> None:
    worker.live(SILENCE_SECONDS, broker=True)
    worker.live(SILENCE_SECONDS - CUT_OFF_PERIOD_SECONDS)

    assert not worker.killed


def test_a_claim_in_progress_has_nothing_to_kill(worker: Worker) -> None:
    worker.held.claiming(7, 1)

    worker.live(5 * SILENCE_SECONDS)

    assert not worker.killed


def test_a_worker_that_was_suspended_asks_before_it_kills_its_job(worker: Worker) -> None:
    worker.now += 10 * SILENCE_SECONDS

    worker.live(SILENCE_SECONDS - CUT_OFF_PERIOD_SECONDS)

    assert not worker.killed


def test_a_database_that_does_not_answer_shuts_the_valve(worker: Worker) -> None:
    worker.live(ANSWER_SECONDS - CUT_OFF_PERIOD_SECONDS, broker=True)
    assert worker.valve.note == ""

    worker.live(3, broker=True)

    assert worker.valve.note == DATABASE_UNAVAILABLE
