"""The cluster's processes on this machine: found by their pidfiles, and proved to be this cluster's before a signal is
sent to one."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final

from django.conf import settings

from gpu_tasks.processes import proc

#: The pidfile of the supervisor; it holds the lock of the same name.
SUPERVISOR: Final = "up"


class OutOfReach(Exception):
    """Why a process, or a GPU's worker, cannot be hit from here."""


def pid_of(name: str) -> int:
    """The living process of a role (`gpu-0`, `web`, ...). OutOfReach if there is none, or it is not proved to be this
    cluster's.

    A pidfile that outlived its process, or that another container wrote, names some other process. This cluster's
    processes hold one of its locks, or their parent does.
    """
    pid = read_pid(name)
    if pid is None:
        raise OutOfReach(f"{name}: no pidfile on this machine")
    if not is_alive(pid):
        raise OutOfReach(f"{name}: its process has ended")
    supervisor = read_pid(SUPERVISOR)
    is_proved = _holds_lock(pid, name) or (
        supervisor is not None and parent_of(pid) == supervisor and _holds_lock(supervisor, SUPERVISOR)
    )
    if not is_proved:
        raise OutOfReach(f"{name}: process {pid} of its pidfile is not of this cluster")
    return pid


def send(name: str, number: signal.Signals) -> int:
    """Returns the pid that was hit."""
    pid = pid_of(name)
    os.kill(pid, number)
    return pid


def pid_path(name: str) -> Path:
    return Path(settings.RUN_DIR, f"{name}.pid")


def lock_path(name: str) -> Path:
    return Path(settings.RUN_DIR, f"{name}.lock")


def read_pid(name: str) -> int | None:
    """None if there is no such file, or it is torn: 0 and negative numbers would mean groups of processes."""
    try:
        pid = int(pid_path(name).read_text())
    except (OSError, ValueError):
        return None
    return pid if pid > 0 else None


def is_alive(pid: int) -> bool:
    """A zombie is not: it only waits until its parent asks for its exit status."""
    stat = proc.stat(pid)
    return stat is not None and stat[0] != "Z"


def parent_of(pid: int) -> int | None:
    stat = proc.stat(pid)
    return None if stat is None else int(stat[1])


def _holds_lock(pid: int, name: str) -> bool:
    lock = str(lock_path(name))
    with suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if str(descriptor.readlink()) == lock:
                    return True
    return False
