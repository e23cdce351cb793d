"""Small processes that a worker starts for itself: children that belong to no job, and outlive it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from threading import Lock
from typing import Final

#: Kept until they have ended: Python complains of a child that nobody waits for.
_started: list[subprocess.Popen[bytes]] = []
_starting: Final = Lock()
os.register_at_fork(
    before=_starting.acquire,
    after_in_parent=_starting.release,
    after_in_child=_starting.release,
)


def start(arguments: Sequence[str]) -> None:
    """In a session of its own: it goes on whatever becomes of this process."""
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
    """Those of this process. Nobody may end them as a job's left-overs: without them a hang would never end."""
    with _starting:
        return frozenset(helper.pid for helper in _started)
