"""A process's health file, and its end when a part of it is stuck."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scheduler.loops.ticker import Sign
from scheduler.loops.vitals import CHECK_SECONDS, EXIT_STUCK, STUCK_SECONDS, WELL_SECONDS, Vitals


class Watched:
    """One sign and its vitals on a clock of their own."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "part.health"
        self.sign = Sign("part")
        self.ends: list[int] = []
        self.vitals = Vitals(self.file, [self.sign], end=self.ends.append)
        self.now = self.sign.turned_at

    def pass_time(self, seconds: float, *, turning: bool) -> None:
        """Ticks as often as the thread does."""
        until = self.now + seconds
        while self.now < until:
            self.now += CHECK_SECONDS
            if turning:
                self.sign.turned_at = self.now
            self.vitals.tick(self.now)

    def is_touched_by_next_tick(self) -> bool:
        if self.file.exists():
            os.utime(self.file, (0, 0))
        self.pass_time(CHECK_SECONDS, turning=True)
        return self.file.exists() and self.file.stat().st_mtime > 0


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_the_file_is_touched_while_the_part_works(watched: Watched) -> None:
    watched.sign.worked_at = watched.now

    assert watched.is_touched_by_next_tick()


def test_the_file_is_not_there_before_the_first_success(watched: Watched) -> None:
    watched.pass_time(WELL_SECONDS, turning=True)

    assert not watched.file.exists()


def test_the_file_ages_while_the_part_turns_without_success(watched: Watched) -> None:
    watched.sign.worked_at = watched.now
    watched.pass_time(WELL_SECONDS, turning=True)

    assert not watched.is_touched_by_next_tick()
    assert not watched.ends


def test_a_stuck_part_ends_the_process(watched: Watched) -> None:
    watched.pass_time(STUCK_SECONDS, turning=False)
    assert not watched.ends

    watched.pass_time(CHECK_SECONDS, turning=False)

    assert watched.ends == [EXIT_STUCK]


def test_a_process_that_was_suspended_as_a_whole_gets_a_fresh_term(watched: Watched) -> None:
    watched.now += 10 * STUCK_SECONDS

    watched.vitals.tick(watched.now)

    assert not watched.ends


def test_a_stopped_watch_removes_its_file(watched: Watched) -> None:
    watched.file.touch()
    watched.vitals.start()

    watched.vitals.stop()

    assert not watched.file.exists()


def test_the_file_of_a_living_process_is_touched_whether_its_parts_work_or_not(watched: Watched) -> None:
    alive = watched.file.with_name("part.alive")
    watched.pass_time(WELL_SECONDS, turning=True)
    os.utime(alive, (0, 0))

    watched.pass_time(CHECK_SECONDS, turning=True)

    assert alive.stat().st_mtime > 0
    assert not watched.file.exists()
