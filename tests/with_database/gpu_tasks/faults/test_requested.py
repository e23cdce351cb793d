"""A real worker carries out a fault that it is asked for through Redis, as in another container."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from redis import Redis

from gpu_tasks.faults.requests import inject
from scheduler.rules.faults import FaultKind
from tests.services import wait_until
from tests.with_cluster.unix_session import is_alive
from tests.with_database.gpu_worker import GpuWorker

#: Half a second between two looks, and room for a busy machine.
CARRIED_OUT_WITHIN_SECONDS = 2.0


@pytest.mark.usefixtures("gpus")
def test_a_request_is_carried_out_soon(redis: Redis, tmp_path: Path) -> None:
    with GpuWorker(redis, tmp_path) as worker:
        asked_at = time.monotonic()
        victim = inject(FaultKind.CHILD_KILLED, worker.gpu, redis, actor="a test")
        assert victim.child_pid is not None

        wait_until(lambda: not is_alive(victim.child_pid), 10, worker.tail)

        assert time.monotonic() - asked_at < CARRIED_OUT_WITHIN_SECONDS
        assert "fault_requested" in worker.tail()
