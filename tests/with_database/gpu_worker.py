"""One real GPU worker on the test's own database and broker, without the rest of a cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

from django.conf import settings
from django.db import connection
from redis import Redis

from cluster_dashboard.operations.database_rights import DatabaseRole
from gpu_tasks.processes.cluster_pids import parent_of
from scheduler.loops.heartbeats import Beat, read_beats
from scheduler.models import Job
from scheduler.rules.states import TERMINAL_STATES
from tests.project import ROOT
from tests.services import wait_until
from tests.with_cluster.cluster import clean_environment
from tests.with_database.database_roles import role_name

READY_SECONDS: Final = 40


def database_url() -> str:
    """Of the database that this test uses; on PostgreSQL as the role that a deployment's workers have."""
    database = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{database['NAME']}"
    return f"postgres://{role_name(DatabaseRole.WORKER)}@/{database['NAME']}?host={quote(database['HOST'], safe='')}"


class GpuWorker:
    """`manage.py start gpu-<index>`; as a context manager it waits until the worker takes jobs, and ends it.

    source: the folder of its manage.py; a mutant's (tests/mutants) lacks a protection.
    guarded: by a guardian, who is then the process that is started here.
    """

    def __init__(
        self,
        redis: Redis,
        folder: Path,
        *,
        gpu: int = 0,
        source: Path = ROOT,
        guarded: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._redis, self.gpu, self._source, self._guarded = redis, gpu, source, guarded
        self._state_dir = folder / f"worker-{gpu}"
        self._output = folder / f"worker-{gpu}.log"
        self._environment = {
            **clean_environment(),
            "STATE_DIR": str(self._state_dir),
            "REDIS_URL": settings.REDIS_URL,
            "DATABASE_URL": database_url(),
            "GPU_COUNT": str(gpu + 1),
            "SEED": "7",
            **(environment or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        once = [] if self._guarded else ["--once"]
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "manage.py", "start", *once, f"gpu-{self.gpu}"],
                cwd=self._source,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_until(self._takes_jobs, READY_SECONDS, self.tail)

    def beat(self) -> Beat | None:
        beat = read_beats(self._redis).get(self.gpu)
        if beat is None:
            return None
        return beat if self.pid == (parent_of(beat.pid) if self._guarded else beat.pid) else None

    def _takes_jobs(self) -> bool:
        assert not self.has_ended(), self.tail()
        beat = self.beat()
        return beat is not None and beat.child_pid is not None and not beat.note and self._waits_for_hints()

    def _waits_for_hints(self) -> bool:
        """In BRPOP: after its consumer has started, remote control included."""
        return any("b" in client["flags"] for client in self._redis.client_list())

    def has_ended(self) -> bool:
        return self.exit_code is not None

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return None if self._process is None else self._process.poll()

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)

    def stop(self) -> None:
        """As a service manager does it; what does not end by itself is killed."""
        assert self._process is not None
        if not self.has_ended():
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait(10)

    def tail(self) -> str:
        return "\n".join(self._output.read_text(errors="replace").splitlines()[-30:])

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


def wait_for_end(job: Job, seconds: float, story: str | Callable[[], str] | None = None) -> Job:
    """Of a job that a worker runs."""

    def ended() -> Job | None:
        found = Job.objects.get(id=job.id)
        return found if found.state in TERMINAL_STATES else None

    return wait_until(ended, seconds, story or f"job {job.id} ends")
