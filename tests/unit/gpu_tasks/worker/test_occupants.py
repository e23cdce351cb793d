"""What else than this worker's job is on its GPU."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from gpu_tasks.worker.occupants import occupied
from scheduler.rules.gpu import GpuProcess
from tests.unit.builders import a_sample


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def note(pid: int, *, worker_pid: int, used_mib: int = 2_000) -> str | None:
    sample = a_sample(processes=(GpuProcess(pid=pid, memory_mib=2_000),), memory_used_mib=used_mib)
    return occupied(sample, worker_pid, idle=True)


def test_a_process_of_the_worker_is_no_other_one(process: subprocess.Popen[bytes]) -> None:
    assert note(process.pid, worker_pid=os.getpid()) is None


def test_a_process_that_is_not_the_workers_is_named(process: subprocess.Popen[bytes]) -> None:
    assert (
        note(os.getpid(), worker_pid=process.pid)
        == f"process {os.getpid()} uses it, and does not belong to this worker"
    )


def test_a_process_that_has_ended_since_the_sample_is_not_on_the_gpu_any_more(
    process: subprocess.Popen[bytes],
) -> None:
    """It may have been the job process, which is replaced after a kill."""
    process.kill()
    process.wait()

    assert note(process.pid, worker_pid=os.getpid()) is None


def test_memory_that_none_of_the_listed_processes_has_is_left_over(process: subprocess.Popen[bytes]) -> None:
    found = note(process.pid, worker_pid=os.getpid(), used_mib=7_000)

    assert found == "5000 MiB of its memory are in use, and no job runs"
