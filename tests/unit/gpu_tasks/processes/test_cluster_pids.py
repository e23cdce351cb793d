"""A process is hit only if its pidfile names one of this cluster."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gpu_tasks.processes import cluster_pids
from gpu_tasks.processes.cluster_pids import OutOfReach

type Start = Callable[..., subprocess.Popen[bytes]]

#: Holds the locks that it is given, says so, and waits.
HOLDER = "import sys; held = [open(path, 'w') for path in sys.argv[1:]]; print('holds', flush=True); sys.stdin.read()"
#: Starts a child that holds nothing, says its pid, and holds its own lock.
PARENT = (
    "import subprocess, sys; held = open(sys.argv[1], 'w');"
    "child = subprocess.Popen([sys.executable, '-c', 'import sys; sys.stdin.read()'], stdin=subprocess.PIPE);"
    "print(child.pid, flush=True); sys.stdin.read(); child.stdin.close(); child.wait()"
)


@pytest.fixture
def run_dir(tmp_path: Path, settings: Any) -> Path:
    settings.RUN_DIR = tmp_path
    return tmp_path


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def start(code: str, *arguments: object) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.communicate()


def write_pid(run_dir: Path, name: str, pid: int) -> None:
    (run_dir / f"{name}.pid").write_text(f"{pid}\n")


def first_line(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().decode().strip()


def test_holder_of_the_lock_is_of_this_cluster(run_dir: Path, start: Start) -> None:
    process = start(HOLDER, run_dir / "gpu-1.lock")
    assert first_line(process) == "holds"
    write_pid(run_dir, "gpu-1", process.pid)

    assert cluster_pids.pid_of("gpu-1") == process.pid


def test_child_of_the_supervisor_is_of_this_cluster(run_dir: Path, start: Start) -> None:
    supervisor = start(PARENT, run_dir / "up.lock")
    web = int(first_line(supervisor))
    write_pid(run_dir, "up", supervisor.pid)
    write_pid(run_dir, "web", web)

    assert cluster_pids.pid_of("web") == web


def test_other_process_named_by_a_stale_pidfile_is_not_hit(run_dir: Path, start: Start) -> None:
    other = start(HOLDER, run_dir / "something-else")
    assert first_line(other) == "holds"
    write_pid(run_dir, "gpu-1", other.pid)

    with pytest.raises(OutOfReach, match=f"process {other.pid} of its pidfile is not of this cluster"):
        cluster_pids.send("gpu-1", signal.SIGKILL)

    assert other.poll() is None


def test_child_of_another_process_is_not_of_this_cluster_though_the_pidfile_names_that_as_supervisor(
    run_dir: Path, start: Start
) -> None:
    other = start(PARENT, run_dir / "something-else")
    child = int(first_line(other))
    write_pid(run_dir, "up", other.pid)
    write_pid(run_dir, "web", child)

    with pytest.raises(OutOfReach, match="not of this cluster"):
        cluster_pids.pid_of("web")


def test_process_that_has_ended_is_out_of_reach_even_as_a_zombie(run_dir: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read()  # until its end
        write_pid(run_dir, "beat", process.pid)

        with pytest.raises(OutOfReach):
            cluster_pids.pid_of("beat")


def test_role_without_pidfile_is_out_of_reach(run_dir: Path) -> None:
    with pytest.raises(OutOfReach, match="beat: no pidfile on this machine"):
        cluster_pids.pid_of("beat")


def test_signal_reaches_the_process(run_dir: Path, start: Start) -> None:
    process = start(HOLDER, run_dir / "beat.lock")
    assert first_line(process) == "holds"
    write_pid(run_dir, "beat", process.pid)

    cluster_pids.send("beat", signal.SIGKILL)

    assert process.wait(10) == -signal.SIGKILL
