"""When a worker that hears neither Redis nor the database ends its job."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from gpu_tasks.processes import job_processes
from gpu_tasks.worker.heartbeat import Standing
from gpu_tasks.worker.held import Held
from gpu_tasks.worker.warden import ANSWER_SECONDS, DATABASE_AWAY, LOOK_SECONDS, Warden
from scheduler.loops.heartbeats import SILENCE_SECONDS


class CutOff:
    """A worker with a running job, whose broker and database have just answered for the last time."""

    def __init__(self) -> None:
        self.killed: list[int] = []
        self.now = self.heard_at = time.monotonic()
        self.held, self.standing = Held(), Standing()
        nothing: Any = None
        self.warden = Warden(
            gpu=0,
            boot="boot",
            held=self.held,
            spool=nothing,
            standing=self.standing,
            pool=SimpleNamespace(consume=lambda queues: None),
            record=nothing,
            sample=nothing,
            heard_at=lambda: self.heard_at,
        )
        self.held.running(7, 1, time_limit_seconds=300, memory_mib=0, load=1.0)

    def live(self, seconds: float, *, database: bool = False, broker: bool = False) -> None:
        until = self.now + seconds
        while self.now < until:
            self.now += LOOK_SECONDS
            if database:
                self.warden._answered_at = self.now
            if broker:
                self.heard_at = self.now
            self.warden.watch_cut_off(self.now)


@pytest.fixture
def cut_off(monkeypatch: pytest.MonkeyPatch) -> CutOff:
    worker = CutOff()
    monkeypatch.setattr(job_processes, "kill", worker.killed.append)
    return worker


def test_the_job_ends_after_a_whole_term_without_both(cut_off: CutOff) -> None:
    cut_off.live(SILENCE_SECONDS - LOOK_SECONDS)
    assert not cut_off.killed

    cut_off.live(3)

    assert len(cut_off.killed) == 1


@pytest.mark.parametrize("answers", ["database", "broker"])
def test_the_job_goes_on_while_one_of_them_answers(cut_off: CutOff, answers: str) -> None:
    cut_off.live(5 * SILENCE_SECONDS, database=answers == "database", broker=answers == "broker")

    assert not cut_off.killed


def test_the_term_begins_with_the_last_answer_of_either(cut_off: CutOff) -> None:
    cut_off.live(SILENCE_SECONDS, broker=True)
    cut_off.live(SILENCE_SECONDS - LOOK_SECONDS)

    assert not cut_off.killed


def test_a_claim_that_is_under_way_has_nothing_to_end(cut_off: CutOff) -> None:
    cut_off.held.claiming(7, 1)

    cut_off.live(5 * SILENCE_SECONDS)

    assert not cut_off.killed


def test_a_worker_that_was_stopped_asks_before_it_ends_its_job(cut_off: CutOff) -> None:
    cut_off.now += 10 * SILENCE_SECONDS

    cut_off.live(SILENCE_SECONDS - LOOK_SECONDS)

    assert not cut_off.killed


def test_a_database_that_does_not_answer_shuts_the_valve(cut_off: CutOff) -> None:
    cut_off.live(ANSWER_SECONDS - LOOK_SECONDS, broker=True)
    assert cut_off.standing.note == ""

    cut_off.live(3, broker=True)

    assert cut_off.standing.note == DATABASE_AWAY
