"""Calls of a driver that answers slowly, or never."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event
from threading import enumerate as enumerate_threads

import pytest

from gpu_tasks.gpus.driver_thread import DriverThread, NoAnswer

IMPATIENT_SECONDS = 0.02
PATIENT_SECONDS = 30.0


class Driver:
    """A driver that hangs until it is released."""

    def __init__(self) -> None:
        self.released, self.returned = Event(), Event()
        self.calls = 0

    def hang(self) -> str:
        self.calls += 1
        self.released.wait(PATIENT_SECONDS)
        self.returned.set()
        return "late"


@pytest.fixture
def driver() -> Iterator[Driver]:
    driver = Driver()
    yield driver
    driver.released.set()


def test_a_call_has_its_value_or_its_own_exception() -> None:
    thread = DriverThread("driver")

    assert thread.ask(lambda: 7, PATIENT_SECONDS) == 7
    with pytest.raises(ZeroDivisionError):
        thread.ask(lambda: 1 / 0, PATIENT_SECONDS)
    assert thread.ask(lambda: None, PATIENT_SECONDS) is None


def test_a_driver_that_hangs_keeps_one_thread_however_often_it_is_asked(driver: Driver) -> None:
    thread = DriverThread("a driver that hangs")

    for _ in range(20):
        with pytest.raises(NoAnswer):
            thread.ask(driver.hang, IMPATIENT_SECONDS)

    stuck = [each for each in enumerate_threads() if each.name == "a driver that hangs"]
    assert (len(stuck), driver.calls) == (1, 1)


def test_a_driver_that_has_gone_on_is_asked_again_and_its_late_answer_is_dropped(driver: Driver) -> None:
    thread = DriverThread("driver")
    with pytest.raises(NoAnswer):
        thread.ask(driver.hang, IMPATIENT_SECONDS)

    driver.released.set()
    driver.returned.wait(PATIENT_SECONDS)

    def answer() -> str:
        while True:
            try:
                return thread.ask(lambda: "new", PATIENT_SECONDS)
            except NoAnswer:
                continue  # the late thread is just ending

    assert answer() == "new"


def test_a_call_waits_for_one_that_another_thread_has_made() -> None:
    thread, slow = DriverThread("driver"), Driver()
    other = DriverThread("other")
    with pytest.raises(NoAnswer):
        other.ask(lambda: thread.ask(slow.hang, PATIENT_SECONDS), IMPATIENT_SECONDS)

    slow.released.set()

    assert thread.ask(lambda: "next", PATIENT_SECONDS) == "next"
