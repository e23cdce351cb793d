"""What a job starts ends with it, whatever it does to escape: it ignores SIGTERM, and leads a session of its own.

GPU 0 has the remedy. GPU 1's worker, started by hand, lacks it: there the processes live on, on a GPU that the next
job gets.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mutants.source import source_without
from tests.project import ROOT
from tests.services import wait_until
from tests.with_cluster.api import story
from tests.with_cluster.cluster import Cluster
from tests.with_cluster.unix_session import is_alive

GPU_COUNT = 1
WITH, WITHOUT, OTHER = 0, 1, 2
ENVIRONMENT = {"PYTHONPATH": str(ROOT / "tests" / "with_cluster" / "plugin")}


@dataclass(frozen=True)
class Started:
    job_id: int
    #: One in the job's process group, one in a session of its own.
    processes: tuple[int, ...]

    def living(self) -> list[int]:
        return list(filter(is_alive, self.processes))


class Job:
    """Starts jobs that start processes, and ends what a test left alive on purpose."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self._cluster, self._folder = cluster, folder
        self.started: list[Started] = []

    def start(self, gpu: int) -> Started:
        self._cluster.steer_to(gpu)
        pid_file = self._folder / f"pids-{len(self.started)}"
        job_id = self._cluster.api.submit_one("grandchildren", params={"pid_file": str(pid_file), "setsid": True})
        wait_until(pid_file.exists, 15, lambda: story(self._cluster.api.job(job_id)))
        self.started.append(Started(job_id, tuple(map(int, pid_file.read_text().split()))))
        assert len(self.started[-1].living()) == 2
        return self.started[-1]

    def seen_again(self, before: Started) -> Started:
        """The same job's next attempt."""
        pid_file = self._folder / f"pids-{self.started.index(before)}"
        pids = wait_until(
            lambda: (now := tuple(map(int, pid_file.read_text().split()))) != before.processes and now,
            20,
            lambda: story(self._cluster.api.job(before.job_id)),
        )
        self.started.append(Started(before.job_id, pids))
        return self.started[-1]

    def clean_up(self) -> None:
        for pid in [pid for started in self.started for pid in started.living()]:
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def job(cluster: Cluster, tmp_path: Path) -> Iterator[Job]:
    jobs = Job(cluster, tmp_path)
    yield jobs
    jobs.clean_up()
    cluster.steer_to(WITH, WITHOUT)


@pytest.fixture
def without(cluster: Cluster) -> int:
    """The pid of GPU 1's worker."""
    beat = cluster.beats().get(WITHOUT)
    if beat is not None and is_alive(beat.pid):
        return beat.pid
    pid = cluster.start_worker(WITHOUT, source_without("no_process_group"))
    cluster.wait_for_worker(WITHOUT, pid)
    return pid


def cancel(cluster: Cluster, started: Started) -> None:
    cluster.api.cancel(started.job_id)
    assert cluster.api.wait_for_job(started.job_id)["state"] == "cancelled"


def kill_child(cluster: Cluster, started: Started) -> None:
    gpu = cluster.api.job(started.job_id)["gpu"]
    os.kill(cluster.child_pid(gpu), signal.SIGKILL)
    cluster.api.wait_for_event(started.job_id, "requeued")
    cluster.api.cancel(started.job_id)


@pytest.mark.parametrize("end", [cancel, kill_child])
@pytest.mark.usefixtures("without")
def test_processes_of_a_job_end_with_it(cluster: Cluster, job: Job, end: Callable[[Cluster, Started], None]) -> None:
    started = job.start(WITH)
    end(cluster, started)
    # Before the row says so: the job never runs again beside its own remains.
    assert started.living() == []

    started = job.start(WITHOUT)
    end(cluster, started)
    assert list(started.processes) == started.living()


def test_processes_of_a_job_end_with_a_killed_worker(cluster: Cluster, job: Job, without: int) -> None:
    started = job.start(WITH)
    old_pid = cluster.kill("gpu-0")
    wait_until(lambda: not started.living(), 5, cluster.shown)
    cluster.wait_for_successor("gpu-0", old_pid, seconds=10)
    cluster.api.cancel(started.job_id)

    started = job.start(WITHOUT)
    os.kill(without, signal.SIGKILL)
    cluster.wait_for_worker_end(without)
    assert list(started.processes) == started.living()


def test_a_worker_without_a_supervisor_ends_what_the_killed_one_before_it_left(cluster: Cluster, job: Job) -> None:
    by_hand = cluster.start_worker(OTHER)
    cluster.wait_for_worker(OTHER, by_hand)
    started = job.start(OTHER)
    record = cluster.state_dir / "run" / f"gpu-{OTHER}.processes"
    wait_until(lambda: record.exists() and str(started.processes[-1]) in record.read_text(), 5, "they are noted")
    os.kill(by_hand, signal.SIGKILL)
    cluster.wait_for_worker_end(by_hand)
    assert list(started.processes) == started.living()

    # One that may not end them sees them at least, and keeps off the GPU.
    hampered = cluster.start_worker(OTHER, source_without("no_process_group"))
    wait_until(lambda: cluster.beats()[OTHER].pid == hampered, 30, cluster.tail)
    wait_until(lambda: "of an earlier job" in cluster.beats()[OTHER].note, 5, lambda: str(cluster.beats()[OTHER]))
    os.kill(hampered, signal.SIGTERM)
    cluster.wait_for_worker_end(hampered)
    assert list(started.processes) == started.living()

    successor = cluster.start_worker(OTHER)

    cluster.wait_for_worker(OTHER, successor)
    assert started.living() == []
    again = job.seen_again(started)
    os.kill(successor, signal.SIGTERM)
    assert cluster.wait_for_worker_end(successor) == 0
    assert again.living() == []
