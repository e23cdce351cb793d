"""The files in $STATE_DIR/run: pidfiles, and locks that prevent a second process of the same name."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Final

from django.conf import settings

from gpu_tasks.processes.cluster_pids import lock_path, pid_path, read_pid
from scheduler.files import replace_file
from scheduler.loops.vitals import ALIVE_SUFFIX

#: The time for which a new process waits for the end of its predecessor. The child of a killed worker needs about 1 s.
LOCK_WAIT_SECONDS: Final = 10.0


class LockHeld(Exception):
    """Another living process holds the lock."""


def write_pid(name: str, pid: int) -> None:
    """Atomic: a reader sees the old pid or the new one, never a partial one."""
    replace_file(pid_path(name), f"{pid}\n")


def remove_pid(name: str, pid: int) -> None:
    """Removes the pidfile, unless it is that of a successor."""
    if read_pid(name) == pid:
        pid_path(name).unlink(missing_ok=True)


def alive_path(name: str) -> Path:
    """Touched by the process of this name while any of its threads runs."""
    return Path(settings.RUN_DIR, f"{name}{ALIVE_SUFFIX}")


def touched_at(path: Path) -> int | None:
    """Nanoseconds, for comparisons only; None if there is no such file."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def take_lock(name: str, *, wait_seconds: float = LOCK_WAIT_SECONDS) -> int:
    """The lock's file descriptor: the lock ends when it and every copy that a child inherited are closed.

    So a free lock means that nothing of the old process is left, its job process included. Raises LockHeld.
    """
    descriptor = os.open(lock_path(name), os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(descriptor)
                raise LockHeld(f"another {name} is still running on this state folder") from None
            time.sleep(0.05)
        else:
            return descriptor
