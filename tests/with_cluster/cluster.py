"""A cluster as a user starts it: `manage.py up`, on free ports and a state folder of its own."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from redis import Redis

from cluster_dashboard.environment import Environment, read_state_file
from scheduler.loops.heartbeats import Beat, read_beats
from tests.project import ROOT
from tests.services import wait_until
from tests.with_cluster.api import Api
from tests.with_cluster.unix_session import SeenProcess, is_alive, processes_of

READY_SECONDS: Final = 60
#: Promised for a stop.
STOP_SECONDS: Final = 15

#: Leads a session of its own, with the terminal on its standard input: what a shell does for a command in front.
_IN_FRONT: Final = (
    "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)


class Cluster:
    """`start` and `stop` may alternate on the same state; as a context manager it starts, and leaves nothing behind.

    The generator is as good as silent: its first job comes after minutes (rate and seed see to it).
    """

    def __init__(self, *, gpus: int = 2, environment: Mapping[str, str] | None = None, source: Path = ROOT) -> None:
        """source: the folder of its manage.py; a mutant's (tests/mutants) lacks a protection."""
        self._source = source
        self._folder = Path(tempfile.mkdtemp(prefix="gpu-cluster-"))
        # Not made here: the first start has to.
        self.state_dir = self._folder / "state"
        self.gpu_count = gpus
        self.web_port, self.flower_port = free_ports(2)
        own = {
            "STATE_DIR": str(self.state_dir),
            "WEB_PORT": str(self.web_port),
            "FLOWER_PORT": str(self.flower_port),
            "GPU_COUNT": str(gpus),
            "JOB_RATE": "0.1",
            "SEED": "7",
        }
        self.environment = {**clean_environment(), **own, **(environment or {})}
        self._output = self._folder / "output"
        self._output.touch()
        self._starts_at = 0
        self._terminal: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._sessions: list[int] = []
        self._by_hand: dict[int, subprocess.Popen[bytes]] = {}
        self._api: Api | None = None

    # --- start and stop

    @property
    def url(self) -> str:
        return f"http://localhost:{self.web_port}"

    @property
    def api(self) -> Api:
        assert self._api is not None, "it is not ready yet, or stopped"
        return self._api

    def start(self) -> None:
        """Until everything is ready."""
        self.launch()
        self.wait_for_output("cluster_ready", READY_SECONDS)
        self._api = Api(self.url, self.secret("API_TOKEN"))

    def launch(self) -> None:
        """In front of a terminal, of which only the keyboard is used: the output goes to a file."""
        self._starts_at = self._output.stat().st_size
        self._terminal, keyboard = pty.openpty()
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _IN_FRONT, "manage.py", "up"],
                cwd=self._source,
                env=self.environment,
                stdin=keyboard,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        os.close(keyboard)
        self._sessions.append(self._process.pid)

    def wait_for_output(self, words: str, seconds: float = 30) -> None:
        process = self._process

        def found() -> bool:
            assert process is not None
            assert process.poll() is None, f"it ended with {process.returncode}\n{self.tail()}"
            return words in self.output()

        wait_until(found, seconds, lambda: f"{words!r} in\n{self.tail()}")

    def stop(self, how: signal.Signals = signal.SIGTERM, *, seconds: float = STOP_SECONDS) -> int:
        """Gives the exit code."""
        assert self._process is not None
        self._close_api()
        self._process.send_signal(how)
        return self.wait_for_end(seconds)

    def press_ctrl_c(self) -> int:
        """As the keyboard does it: the terminal sends SIGINT to whatever runs in front. Gives the exit code."""
        assert self._terminal is not None
        self._close_api()
        os.write(self._terminal, b"\x03")
        return self.wait_for_end(STOP_SECONDS)

    def wait_for_end(self, seconds: float) -> int:
        process = self._process
        assert process is not None
        wait_until(
            lambda: process.poll() is not None, seconds, lambda: f"the cluster ended\n{self.shown()}\n{self.tail()}"
        )
        self._close_terminal()
        return process.returncode

    def _close_api(self) -> None:
        if self._api is not None:
            self._api.close()
            self._api = None

    def _close_terminal(self) -> None:
        if self._terminal is not None:
            os.close(self._terminal)
            self._terminal = None

    def up_again(self, **environment: str) -> subprocess.CompletedProcess[str]:
        """Another `manage.py up` with the same environment but for these variables; it must end by itself."""
        return subprocess.run(
            [sys.executable, "manage.py", "up"],
            cwd=self._source,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=30,
            check=False,
        )

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.clean_up()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.clean_up()

    def clean_up(self) -> None:
        """Whatever state it is in."""
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
        for left in self.processes():
            with suppress(ProcessLookupError):
                os.kill(left.pid, signal.SIGKILL)
        for ended in (process, *self._by_hand.values()):
            if ended is not None:
                ended.wait(5)
        self._close_terminal()
        self._close_api()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start_worker(self, gpu: int, source: Path | None = None, **environment: str) -> int:
        """A GPU worker by hand, beside the supervisor's: nobody starts it again, nobody ends what it leaves.
        Returns its pid. source: another folder of manage.py than the cluster's own."""
        name = f"gpu-{gpu}"
        with self._output.open("ab") as output:
            worker = subprocess.Popen(
                [sys.executable, "manage.py", "start", "--once", name],
                cwd=source or self._source,
                env={**self.environment, "GPU_COUNT": str(gpu + 1), **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._sessions.append(worker.pid)
        self._by_hand[worker.pid] = worker
        return worker.pid

    def wait_for_worker(self, gpu: int, pid: int) -> None:
        """Until this worker, started by hand, takes jobs."""

        def consumes() -> bool:
            assert self._by_hand[pid].poll() is None, f"it ended\n{self.tail()}"
            beat = self.beats().get(gpu)
            return beat is not None and beat.pid == pid and self._consumes(beat)

        wait_until(consumes, 30, lambda: f"gpu-{gpu} takes jobs\n{self.tail()}")

    def wait_for_worker_end(self, pid: int, seconds: float = 20) -> int:
        """The exit code of a worker that was started by hand."""
        worker = self._by_hand[pid]
        wait_until(lambda: worker.poll() is not None, seconds, lambda: f"{pid} ends\n{self.tail()}")
        return worker.returncode

    # --- looking at it

    def secret(self, name: str) -> str:
        return self.environment.get(name) or read_state_file(self.state_dir / ".env")[name]

    def output(self) -> str:
        """What it printed since its last start."""
        return self._output.read_bytes()[self._starts_at :].decode(errors="replace")

    def tail(self, lines: int = 40) -> str:
        return "\n".join(self._output.read_text(errors="replace").splitlines()[-lines:])

    def processes(self) -> list[SeenProcess]:
        """All that runs of it, from all its starts."""
        return [process for session in self._sessions for process in processes_of(session)]

    def shown(self) -> str:
        return "\n".join(f"{each.pid} {each.state} {each.title}" for each in self.processes()) or "no process"

    @property
    def guardian_pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def pid(self, name: str) -> int:
        """From the pidfile of a role (`gpu-0`, `web`, ...); the supervisor's is called `up`."""
        return int((self.state_dir / "run" / f"{name}.pid").read_text())

    def log_path(self, name: str) -> Path:
        return self.state_dir / "log" / f"{name}.log"

    @property
    def redis_url(self) -> str:
        return self.environment.get("REDIS_URL") or f"unix://{self.state_dir}/run/broker.sock?db=0"

    def redis(self) -> Redis:
        return Redis.from_url(self.redis_url, socket_timeout=5)

    def beats(self) -> dict[int, Beat]:
        with self.redis() as client:
            return read_beats(client)

    def child_pid(self, gpu: int) -> int:
        """The living process in which the GPU's jobs run. A beat tells it up to two seconds late."""

        def living() -> int | None:
            pid = self.beats()[gpu].child_pid
            return pid if pid is not None and is_alive(pid) else None

        return wait_until(living, 10, lambda: f"GPU {gpu} has a child\n{self.beats()}\n{self.shown()}")

    def query(self, sql: str, *params: Any) -> list[tuple[Any, ...]]:
        """Straight from the database's file."""
        with closing(sqlite3.connect(f"file:{self.state_dir}/cluster.sqlite3?mode=ro", uri=True)) as connection:
            return connection.execute(sql, params).fetchall()

    def steer_to(self, *gpus: int) -> None:
        """Only these GPUs take jobs; the valves of the others are shut when it returns."""
        known = [gpu["index"] for gpu in self.api.http.get("/api/gpus").json()["gpus"]]
        for gpu in known:
            self.api.change_gpu(gpu, drained=gpu not in gpus)

        def is_steered() -> bool:
            living = [beat for beat in self.beats().values() if is_alive(beat.pid)]
            return all(("drained" in beat.note) == (beat.gpu not in gpus) for beat in living)

        wait_until(is_steered, 15, lambda: f"only {gpus} take jobs: {self.beats()}")

    # --- hitting it

    def kill_everything(self) -> None:
        """As a machine that loses its power: guardian and supervisor first, so that nobody brings anything back."""
        assert self._process is not None
        self._close_api()
        for pid in (self._process.pid, self.pid("up")):
            os.kill(pid, signal.SIGKILL)
        self._process.wait(5)
        self._close_terminal()
        for left in self.processes():
            with suppress(ProcessLookupError):
                os.kill(left.pid, signal.SIGKILL)
        wait_until(lambda: not self.processes(), 5, self.shown)

    def kill(self, name: str) -> int:
        """kill -9 of a role's process, by its pidfile; gives the pid that was hit."""
        pid = self.pid(name)
        os.kill(pid, signal.SIGKILL)
        return pid

    def wait_for_successor(self, name: str, old_pid: int, *, seconds: float) -> int:
        """The new pid, once the old process is gone."""

        def successor() -> int | None:
            with suppress(FileNotFoundError, ValueError):
                pid = self.pid(name)
                if pid != old_pid and not is_alive(old_pid) and is_alive(pid):
                    return pid
            return None

        return wait_until(successor, seconds, lambda: f"{name} is back\n{self.shown()}\n{self.tail()}")

    def settle(self) -> None:
        """No job waits or runs, the generator is paused and breaks nothing, every worker is alive."""
        self.api.change_control(paused=True, fault_profile="none")
        wait_until(self._cancel_what_is_left, 30, lambda: f"no job is left\n{self.tail()}")
        wait_until(self._all_workers_consume, 30, lambda: f"all workers consume: {self.beats()}\n{self.tail()}")

    def _cancel_what_is_left(self) -> bool:
        left = [*self.api.jobs(state="queued"), *self.api.jobs(state="running")]
        for job in left:
            if not job["cancel_requested"]:
                self.api.cancel(job["id"])
        return not left

    def _all_workers_consume(self) -> bool:
        beats = self.beats()
        return all(index in beats and self._consumes(beats[index]) for index in range(self.gpu_count))

    def _consumes(self, beat: Beat) -> bool:
        has_child = beat.child_pid is not None and is_alive(beat.child_pid)
        return beat.pid == self.pid(f"gpu-{beat.gpu}") and has_child and not beat.note


def clean_environment() -> dict[str, str]:
    """Ours, without what the tests or a developer set for the product."""
    names = {field.upper() for field in Environment.model_fields}
    ours = {"DJANGO_SETTINGS_MODULE", *names, *(f"{name}_FILE" for name in names)}
    return {name: value for name, value in os.environ.items() if name not in ours}


def free_ports(count: int) -> list[int]:
    """Taken all at once, so that they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
