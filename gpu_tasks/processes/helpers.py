"""Small processes that a worker starts for itself: they belong to no job, and outlive the worker."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from threading import Lock
from typing import Final

#: Kept until they have ended: Python warns about a child that was not waited for.
_started: list[subprocess.Popen[bytes]] = []
_starting: Final = Lock()
os.register_at_fork(
    before=_starting.acquire,
    after_in_parent=_starting.release,
    after_in_child=_starting.release,
)


def start(arguments: Sequence[str]) -> None:
    """In its own session: it goes on if this process is killed."""
    with _starting:
        _started[:] = [helper for helper in _started if helper.poll() is None]
        _started.append(
            subprocess.Popen(
                list(arguments),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        )


def pids() -> frozenset[int]:
    """Those of this process. They are not left over from a job, and must not be ended: they end a hang."""
    with _starting:
        return frozenset(helper.pid for helper in _started)
