"""pytest-celery's worker nodes on processes: where it wraps a container, these wrap a process of the cluster."""

from __future__ import annotations

import os
import signal as signals
from typing import Any

from celery import Celery
from pytest_celery import CeleryTestWorker

from scheduler.loops.heartbeats import Beat
from scheduler.redis_url import celery_url
from tests.services import wait_until
from tests.with_cluster.cluster import Cluster
from tests.with_cluster.unix_session import is_alive

#: Promised for a worker that was killed.
BACK_WITHIN_SECONDS = 5


class ProcessNode:
    """The part of pytest-celery's container that its worker uses. `boot` and `pid` are those it had when last seen."""

    def __init__(self, cluster: Cluster, gpu: int) -> None:
        self._cluster, self.gpu = cluster, gpu
        self.name = f"gpu-{gpu}"
        self._log_starts_at = len(self._whole_log())
        self._boots_gone: set[str] = set()
        self.reload()

    @property
    def id(self) -> str:
        return f"{self.name}-{self.boot}"

    @property
    def celeryconfig(self) -> dict[str, Any]:
        url = celery_url(self._cluster.redis_url)
        return {"url": url, "host_url": url, "broker_url": url, "result_backend": None}

    @property
    def status(self) -> str:
        return "running" if is_alive(self.pid) else "exited"

    def kill(self, signal: str | int = "SIGKILL") -> None:
        number = signals.Signals[signal] if isinstance(signal, str) else signals.Signals(signal)
        self._boots_gone.add(self.boot)
        os.kill(self.pid, number)
        wait_until(lambda: not is_alive(self.pid), BACK_WITHIN_SECONDS, f"{self.name}, process {self.pid}, ends")

    def ready(self) -> bool:
        """Waits for a heartbeat of a boot that was never killed."""
        wait_until(self._beats_anew, BACK_WITHIN_SECONDS, lambda: f"{self.name} beats anew\n{self._cluster.tail()}")
        self.reload()
        return True

    def restart(self, timeout: float = BACK_WITHIN_SECONDS) -> None:
        """The supervisor starts what ends."""
        if self.status == "running":
            self.kill("SIGTERM")
        self.ready()

    def reload(self) -> None:
        beat = self.beat()
        self.boot, self.pid = beat.boot, beat.pid

    def logs(self) -> str:
        """What it wrote since this node was made."""
        return self._whole_log()[self._log_starts_at :].decode(errors="replace")

    def _whole_log(self) -> bytes:
        path = self._cluster.log_path(self.name)
        return path.read_bytes() if path.exists() else b""

    def teardown(self) -> None:
        """The cluster's own end is its workers' end."""

    def beat(self) -> Beat:
        return wait_until(lambda: self._cluster.beats().get(self.gpu), 10, f"{self.name} beats")

    def _beats_anew(self) -> bool:
        beat = self.beat()
        return beat.boot not in self._boots_gone and is_alive(beat.pid)


def workers_of(cluster: Cluster) -> list[CeleryTestWorker]:
    """One for each GPU."""
    app = Celery("tests", broker=celery_url(cluster.redis_url), set_as_current=False)
    return [CeleryTestWorker(ProcessNode(cluster, gpu), app) for gpu in range(cluster.gpu_count)]
