"""`manage.py up`: starts everything, keeps it alive, leaves nothing. Real processes on free ports."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cluster_dashboard.environment import read_state_file
from tests.project import ROOT
from tests.services import wait_until

READY = "cluster_ready"


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@dataclass
class Up:
    """One `manage.py up` on a terminal of its own."""

    state: Path
    web_port: int
    flower_port: int
    pid: int = 0
    _terminal: int = -1
    _seen: bytes = field(default=b"")

    @property
    def environ(self) -> dict[str, str]:
        variables = {
            "STATE_DIR": self.state,
            "WEB_PORT": self.web_port,
            "FLOWER_PORT": self.flower_port,
            "GPU_COUNT": 1,
            "JOB_RATE": 0.1,
            # setproctitle would write over the environment, by which `processes` knows them.
            "SPT_NOENV": 1,
        }
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return inherited | {name: str(value) for name, value in variables.items()}

    def start(self) -> None:
        # By spawn and not by pty.fork: the test's own process may have threads.
        self._terminal, inside = pty.openpty()
        command = "import os, sys; os.login_tty(0); os.execv(sys.executable, [sys.executable, 'manage.py', 'up'])"
        self._process = subprocess.Popen(
            [sys.executable, "-c", command], cwd=ROOT, env=self.environ, stdin=inside, stdout=inside, stderr=inside
        )
        os.close(inside)
        self.pid = self._process.pid

    @property
    def text(self) -> str:
        while select.select([self._terminal], [], [], 0)[0]:
            try:
                data = os.read(self._terminal, 65536)
            except OSError:
                break
            if not data:
                break
            self._seen += data
        return self._seen.decode(errors="replace")

    def wait_for(self, pattern: str, seconds: float = 30, *, after: int = 0) -> None:
        wait_until(lambda: re.search(pattern, self.text[after:]), seconds, lambda: f"{pattern!r} in:\n{self.text}")

    def press_ctrl_c(self) -> None:
        os.write(self._terminal, b"\x03")

    def exit_code(self, seconds: float = 16) -> int:
        wait_until(lambda: self._process.poll() is not None or not self.text, seconds, lambda: self.text)
        return self._process.wait(1)

    def pid_of(self, name: str) -> int:
        return int((self.state / "run" / f"{name}.pid").read_text())

    def processes(self) -> list[int]:
        """Every process that was started for this state folder, by its environment."""
        return [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit() and self._is_ours(each)]

    def _is_ours(self, process: Path) -> bool:
        try:
            return f"STATE_DIR={self.state}".encode() in (process / "environ").read_bytes().split(b"\0")
        except OSError:
            return False

    def stop_by_force(self) -> None:
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait(5)
        os.close(self._terminal)


@pytest.fixture
def settled(tmp_path: Path) -> Up:
    """With a state folder and ports of its own; not started."""
    web_port, flower_port = free_ports(2)
    return Up(state=tmp_path / "state", web_port=web_port, flower_port=flower_port)


@pytest.fixture
def up(settled: Up) -> Iterator[Up]:
    settled.start()
    yield settled
    settled.stop_by_force()


def refused(up: Up, *options: str, **changes: object) -> subprocess.CompletedProcess[str]:
    environ = up.environ | {name: str(value) for name, value in changes.items()}
    command = [sys.executable, "manage.py", "up", *options]
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=30, check=False)


def test_ctrl_c_ends_every_process_with_success(up):
    up.wait_for(READY)
    assert len(up.processes()) >= 8

    up.press_ctrl_c()

    assert up.exit_code() == 0
    assert up.processes() == []
    assert not list((up.state / "run").glob("*.pid"))


def test_sigterm_ends_every_process_with_success(up):
    up.wait_for(READY)

    os.kill(up.pid, signal.SIGTERM)

    assert up.exit_code() == 0
    assert up.processes() == []


def test_the_login_is_on_the_terminal_and_in_no_log(up):
    up.wait_for("Stop +Ctrl-C")

    secrets = read_state_file(up.state / ".env")
    logs = "".join(path.read_text() for path in (up.state / "log").iterdir())

    assert f"password {secrets['ADMIN_PASSWORD']}" in up.text
    assert not [name for name, value in secrets.items() if name != "SEED" and value in logs]


def test_a_killed_process_comes_back(up):
    up.wait_for(READY)
    for name in ("gpu-0", "web", "beat", "scheduler", "flower", "broker"):
        old, seen = up.pid_of(name), len(up.text)

        os.kill(old, signal.SIGKILL)
        up.wait_for(f"ready role={name}", 10, after=seen)

        assert up.pid_of(name) != old


def test_a_killed_supervisor_comes_back_and_leaves_no_old_process(up):
    up.wait_for(READY)
    before, seen = set(up.processes()), len(up.text)

    os.kill(up.pid_of("up"), signal.SIGKILL)
    up.wait_for(READY, after=seen)

    assert before & set(up.processes()) == {up.pid}


def test_without_its_guardian_the_supervisor_goes_on_and_ends_cleanly(up):
    up.wait_for(READY)
    os.kill(up.pid, signal.SIGKILL)
    worker, seen = up.pid_of("gpu-0"), len(up.text)

    os.kill(worker, signal.SIGKILL)
    up.wait_for("ready role=gpu-0", 10, after=seen)
    os.kill(up.pid_of("up"), signal.SIGTERM)

    wait_until(lambda: not up.processes(), 16, lambda: up.text)


def test_a_second_start_says_where_the_first_one_is(up):
    up.wait_for(READY)

    second = refused(up)

    assert second.returncode == 1
    assert "already running" in second.stderr
    assert f"http://localhost:{up.web_port}/" in second.stderr


@pytest.mark.parametrize("variable", ["WEB_PORT", "FLOWER_PORT"])
def test_a_taken_port_is_named(settled, variable):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        first = refused(settled, **{variable: port})

    assert first.returncode == 2
    assert f"{variable}: {port} on 127.0.0.1 is in use" in first.stderr


@pytest.mark.parametrize(
    ("variable", "value", "code"),
    [
        ("GPU_COUNT", "nine", 2),
        ("REDIS_URL", "redis://127.0.0.1:1/0", 3),
        ("DATABASE_URL", "postgres://somebody:secret@127.0.0.1:1/jobs", 3),
        ("BIND_HOST", "203.0.113.7", 2),
        ("STATE_DIR", "/dev/null/var", 2),
    ],
)
def test_a_value_that_does_not_work_is_named_and_its_password_is_not(settled, variable, value, code):
    first = refused(settled, **{variable: value})

    assert first.returncode == code
    assert first.stderr.removeprefix("gpuc up: ").startswith(f"{variable}: ")
    assert "secret" not in first.stderr
    assert "Traceback" not in first.stderr


def test_a_workload_that_is_not_there_is_named(settled):
    ended = refused(settled, "--config", "/no/such/workload.toml")

    assert ended.returncode != 0
    assert "/no/such/workload.toml" in ended.stderr
    assert "Traceback" not in ended.stderr
