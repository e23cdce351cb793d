"""What the other threads of a worker learn of its GPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event

import pytest

from gpu_tasks.worker import readings as module
from gpu_tasks.worker.held import Held
from gpu_tasks.worker.readings import SAMPLE_SECONDS, STALE_SECONDS, Readings
from scheduler.loops.ticker import Ticker
from scheduler.rules.gpu import GpuHealth, GpuIdentity, GpuLoad, GpuSample
from tests.unit.builders import a_sample


class Backend:
    def __init__(self) -> None:
        self.loads: list[GpuLoad | None] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def identity(self) -> GpuIdentity:
        raise NotImplementedError

    def sample(self, load: GpuLoad | None, now_seconds: float) -> GpuSample:
        self.loads.append(load)
        self.meanwhile()
        return a_sample()


class Worker:
    def __init__(self) -> None:
        self.held, self.backend = Held(), Backend()
        self.readings = Readings(self.backend, self.held)

    def run_a_job(self, job_id: int = 7) -> None:
        self.held.running(job_id, 1, time_limit_seconds=60, memory_mib=1_000, load=0.5)

    def quiet_at(self, now: float, monkeypatch: pytest.MonkeyPatch) -> float | None:
        monkeypatch.setattr(module.time, "monotonic", lambda: now)
        self.readings.tick(now)
        return self.readings.newest().quiet_seconds


@pytest.fixture
def worker() -> Worker:
    return Worker()


def test_a_reading_is_unknown_before_the_first_and_when_it_is_old(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert worker.readings.newest().sample.note == "it has not been read yet"

    began = time.monotonic()
    worker.readings.tick(began)
    assert worker.readings.newest().sample == a_sample()

    monkeypatch.setattr(module.time, "monotonic", lambda: began + STALE_SECONDS + 1)
    old = worker.readings.newest().sample
    assert (old.health, old.note) == (GpuHealth.UNKNOWN, "it was last read 6 s ago")


def test_a_gpu_that_never_answers_keeps_nothing_else_waiting(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_SECONDS", 0.05)
    released = Event()
    worker.backend.meanwhile = lambda: released.wait(60)
    ticker = Ticker("sample", worker.readings.tick, SAMPLE_SECONDS)
    ticker.start()

    worker.readings.wait_for_first()

    assert worker.readings.newest().sample.health is GpuHealth.UNKNOWN
    ticker.ask_to_stop()
    released.set()
    ticker.stop()


def test_the_gpu_is_told_what_runs_there(worker: Worker) -> None:
    worker.held.claiming(7, 1)
    worker.readings.tick(0.0)
    worker.run_a_job()
    worker.readings.tick(0.5)

    assert worker.backend.loads == [None, GpuLoad(compute_share=0.5, memory_mib=1_000)]


def test_quiet_is_the_time_without_a_job(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [worker.quiet_at(now, monkeypatch) for now in (100.0, 101.0)] == [0.0, 1.0]

    worker.run_a_job()
    assert worker.quiet_at(102.0, monkeypatch) is None

    worker.held.release()
    assert [worker.quiet_at(now, monkeypatch) for now in (103.0, 103.5)] == [0.0, 0.5]


def test_a_job_between_two_readings_is_noticed(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    worker.quiet_at(100.0, monkeypatch)

    worker.run_a_job()
    worker.held.release()

    assert worker.quiet_at(105.0, monkeypatch) == 0.0


def test_a_job_during_a_reading_is_noticed(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    worker.quiet_at(100.0, monkeypatch)

    def short_job() -> None:
        worker.run_a_job()
        worker.held.release()

    worker.backend.meanwhile = short_job

    assert worker.quiet_at(105.0, monkeypatch) is None
