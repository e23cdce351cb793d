"""The script that ends a frozen process of a container."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.project import ROOT


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The container's process, with its pidfile and its file."""
    started = subprocess.Popen(["sleep", "300"])
    (tmp_path / "web.pid").write_text(f"{started.pid}\n")
    (tmp_path / "web.alive").touch()
    yield started
    started.kill()
    started.wait(5)


def age(path: Path, seconds: float) -> None:
    at = time.time() - seconds
    os.utime(path, (at, at))


def check(folder: Path) -> None:
    subprocess.run([ROOT / "docker" / "frozen", folder], check=True, timeout=10)


def is_ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(0.3)
    except subprocess.TimeoutExpired:
        return False
    return True


def test_a_living_process_is_left_alone(tmp_path: Path, process: subprocess.Popen[bytes]) -> None:
    check(tmp_path)

    assert not is_ended(process)
    assert not (tmp_path / "frozen").exists()


def test_a_frozen_process_is_ended_at_a_later_check(tmp_path: Path, process: subprocess.Popen[bytes]) -> None:
    age(tmp_path / "web.alive", 90)
    check(tmp_path)
    check(tmp_path)
    assert not is_ended(process)

    age(tmp_path / "frozen", 25)
    check(tmp_path)

    assert is_ended(process)


def test_after_a_pause_of_the_machine_nothing_is_ended(tmp_path: Path, process: subprocess.Popen[bytes]) -> None:
    age(tmp_path / "web.alive", 3600)
    check(tmp_path)
    (tmp_path / "web.alive").touch()  # it runs again

    check(tmp_path)

    assert not (tmp_path / "frozen").exists()
    assert not is_ended(process)


def test_a_pause_between_two_checks_is_no_freeze(tmp_path: Path, process: subprocess.Popen[bytes]) -> None:
    age(tmp_path / "web.alive", 3600)
    check(tmp_path)
    age(tmp_path / "frozen", 1800)

    check(tmp_path)

    assert not is_ended(process)


def test_an_older_suspicion_is_forgotten_when_the_process_went_on(
    tmp_path: Path, process: subprocess.Popen[bytes]
) -> None:
    (tmp_path / "frozen").touch()
    age(tmp_path / "frozen", 3600)
    age(tmp_path / "web.alive", 90)

    check(tmp_path)

    assert not is_ended(process)


def test_a_process_that_is_starting_is_left_alone(tmp_path: Path, process: subprocess.Popen[bytes]) -> None:
    (tmp_path / "web.alive").unlink()

    check(tmp_path)

    assert not is_ended(process)
