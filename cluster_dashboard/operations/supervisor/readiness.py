"""Whether a started process does its work: checked from outside, not reported by the process itself."""

from __future__ import annotations

import socket
from typing import Final

from django.conf import settings
from redis.exceptions import RedisError

from cluster_dashboard.operations import broker
from cluster_dashboard.operations.processes import Process, Role
from gpu_tasks.processes.cluster_pids import read_pid

#: The supervisor waits for these answers, so they have to be quick.
_TIMEOUT_SECONDS: Final = 0.3

_ANY_HOST: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (asked, not bound)


def is_ready(process: Process, pid: int) -> bool:
    match process.role:
        case Role.BROKER:
            return broker.answers(timeout_seconds=_TIMEOUT_SECONDS)
        case Role.GPU:
            return _beats(process.index, pid)
        case Role.WEB:
            return _listens(settings.ENVIRONMENT.web_port)
        case Role.FLOWER:
            return _listens(settings.ENVIRONMENT.flower_port)
        case Role.SCHEDULER | Role.BEAT:
            return read_pid(process.name) == pid


def local_host() -> str:
    """Where this machine reaches what listens on BIND_HOST."""
    return _ANY_HOST.get(settings.ENVIRONMENT.bind_host, settings.ENVIRONMENT.bind_host)


def _listens(port: int) -> bool:
    try:
        socket.create_connection((local_host(), port), timeout=_TIMEOUT_SECONDS).close()
    except OSError:
        return False
    return True


def _beats(index: int | None, pid: int) -> bool:
    """Whether the worker's last heartbeat is this process's, not its predecessor's."""
    from scheduler.loops.heartbeats import read_beats  # noqa: PLC0415
    from scheduler.redis_client import connect  # noqa: PLC0415

    client = connect(timeout_seconds=_TIMEOUT_SECONDS)
    try:
        beat = read_beats(client).get(index if index is not None else -1)
    except RedisError:
        return False
    finally:
        client.close()
    return beat is not None and beat.pid == pid
