"""When a worker finds that it is deaf; never while it has nothing to hear, or must not listen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gpu_tasks.worker.held import Held
from gpu_tasks.worker.watchdog import DEAF_SECONDS, DEAF_STOP_SECONDS, GAP_SECONDS, WATCHDOG_PERIOD_SECONDS, Watchdog


class Worker:
    """Idle, eligible, with hints in its queues and none taken: deaf, unless a test changes that."""

    def __init__(self) -> None:
        self.held = Held()
        self.reading, self.waiting = ("high", "low"), 3
        self.taken, self.reserved, self.now = 5, False, 1000.0
        self.restarts = self.ends = 0
        self.watchdog = Watchdog(
            gpu=0,
            held=self.held,
            reading=lambda: self.reading,
            hints_waiting=lambda _now: self.waiting,
            taken=lambda: self.taken,
            has_reserved=lambda: self.reserved,
            restart=lambda: self._count("restarts"),
            end=lambda: self._count("ends"),
        )

    def _count(self, what: str) -> None:
        setattr(self, what, getattr(self, what) + 1)

    def live(self, seconds: float, meanwhile: Callable[[], Any] = lambda: None) -> None:
        until = self.now + seconds
        while self.now < until:
            self.now += WATCHDOG_PERIOD_SECONDS
            meanwhile()
            self.watchdog.tick(self.now)


@pytest.fixture
def worker() -> Worker:
    return Worker()


def test_a_deaf_worker_is_restarted_once_after_its_term(worker: Worker) -> None:
    worker.live(DEAF_SECONDS)
    assert worker.restarts == 0

    worker.live(2)

    assert (worker.restarts, worker.ends) == (1, 0)
    assert worker.watchdog.has_bitten


def test_a_deaf_worker_that_does_not_stop_is_ended(worker: Worker) -> None:
    worker.live(DEAF_SECONDS + 2 + DEAF_STOP_SECONDS)

    assert worker.restarts == 1
    assert worker.ends >= 1


def empty_queues(worker: Worker) -> None:
    """Also while the broker is unavailable, or the relay withholds the hints."""
    worker.waiting = 0


def shut_valve(worker: Worker) -> None:
    """Drained, quarantined, hot, or the database is unavailable."""
    worker.reading = ()


def busy(worker: Worker) -> None:
    worker.held.running(7, 1, time_limit_seconds=300, memory_mib=0, load=1.0)


def waiting_for_its_process(worker: Worker) -> None:
    worker.reserved = True


@pytest.mark.parametrize("state", [empty_queues, shut_valve, busy, waiting_for_its_process])
def test_a_worker_that_has_nothing_to_hear_is_left_alone(worker: Worker, state: Callable[[Worker], None]) -> None:
    state(worker)

    worker.live(5 * DEAF_SECONDS)

    assert worker.restarts == 0


def test_a_worker_that_returns_every_hint_is_not_deaf(worker: Worker) -> None:
    def takes_one() -> None:
        worker.taken += 1

    worker.live(5 * DEAF_SECONDS, meanwhile=takes_one)

    assert worker.restarts == 0


@pytest.mark.parametrize("state", [empty_queues, shut_valve, waiting_for_its_process])
def test_the_term_starts_again_when_it_may_hear_again(worker: Worker, state: Callable[[Worker], None]) -> None:
    worker.live(DEAF_SECONDS - 1)
    before = worker.reading
    state(worker)
    worker.live(3)
    worker.reading, worker.waiting, worker.reserved = before, 3, False

    worker.live(DEAF_SECONDS - 1)

    assert worker.restarts == 0


def test_a_valve_that_was_just_opened_gives_a_whole_term(worker: Worker) -> None:
    worker.live(DEAF_SECONDS - 1)
    worker.reading = ("high",)

    worker.live(DEAF_SECONDS - 1)

    assert worker.restarts == 0


def test_the_term_of_a_process_that_was_suspended_starts_again(worker: Worker) -> None:
    worker.live(DEAF_SECONDS - 1)
    worker.now += 10 * GAP_SECONDS

    worker.live(DEAF_SECONDS - 1)

    assert worker.restarts == 0


@pytest.mark.mutant("no_watchdog")
def test_without_the_remedy_it_stays_deaf(worker: Worker) -> None:
    worker.live(5 * DEAF_SECONDS)

    assert worker.restarts == 0
