"""What a job starts ends with it: its process group, and what left the group (setsid) or lost its parent.

The worker's main process and its job process are both subreapers: an orphan of a job is a child of the job process
while that lives, then of the main process, so one of them always finds it. Where there is no /proc (not Linux) the
group alone is ended.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from gpu_tasks.processes import helpers, multiprocessing_parent, prctl, proc
from scheduler.files import replace_file
from scheduler.logs import event_logger

log = event_logger(__name__)

#: A killed process needs a moment to end; one that is blocked in the driver may never end.
END_SECONDS: Final = 2.0

#: The pid of this process if it is a job process: then all its children are its jobs'.
_leader = 0


def adopt_orphans() -> None:
    """In the worker's main process, before it forks."""
    prctl.become_subreaper()


def lead() -> None:
    """In the job process: from here on all that its jobs start can be found and ended, so they may start processes by
    `multiprocessing` too."""
    global _leader  # noqa: PLW0603 - there is one of it: this process
    os.setpgid(0, 0)
    prctl.become_subreaper()
    _leader = os.getpid()
    multiprocessing_parent.become()


def is_job_process() -> bool:
    """False in what its jobs fork."""
    return _leader == os.getpid()


def kill(pid: int) -> None:
    """The job process and its group, which may not exist yet."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def end_own_children() -> bool:
    """In the job process, after a job: ends what the job left running. Returns whether there was any.

    Then another process must run the next job: what Python's `multiprocessing` still knows of the ended ones (its fork
    server, its resource tracker) would fail that job, and some do not end.
    """
    return is_job_process() and _end_children(helpers.pids)[0]


def end_children(spared: Callable[[], Iterable[int]]) -> list[int]:
    """Kills every child of this process but the spared ones, and the orphans that each of them leaves to this process.
    Returns those that live on.

    `spared` is asked after the children were listed, so that it knows each of them.
    """
    return _end_children(spared)[1]


def _end_children(spared: Callable[[], Iterable[int]]) -> tuple[bool, list[int]]:
    """Whether there were any, and those that live on."""
    deadline = time.monotonic() + END_SECONDS
    found = False
    while left := _strangers(spared):
        found = True
        for pid in left:
            # It may have just ended, or belong to another user.
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            break
        time.sleep(0.005)
    return found, left


def _strangers(spared: Callable[[], Iterable[int]]) -> list[int]:
    while found := set(proc.children_of(os.getpid())):
        found.difference_update(spared())
        living = [pid for pid in found if not _reap(pid)]
        if living or not found:
            return living
        # Those that had ended may have left orphans here after the list was read.
    return []


def _reap(pid: int) -> bool:
    """Whether this child has ended."""
    with suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    return True


def is_of_our_group(pid: int) -> bool:
    try:
        return os.getpgid(pid) == os.getpgrp()
    except ProcessLookupError:
        return False


def descendants_of(pid: int) -> list[int]:
    found = proc.children_of(pid)
    for each in found:
        found += proc.children_of(each)
    return found


# --- across a worker's death ----------------------------------------------------------------------


class Record:
    """The processes of the running job, on disk: if the worker is killed, the one after it ends them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: dict[int, int] = {}

    def note(self, pids: Iterable[int]) -> None:
        """Writes only what is new."""
        seen = {pid: born for pid in pids if (born := born_at(pid)) is not None}
        if seen == self._written:
            return
        try:
            replace_file(self._path, json.dumps(seen))
        except OSError as error:
            log.warning("job_processes_not_noted", file=self._path, error=error)
        else:
            self._written = seen

    def end_left_overs(self) -> list[int]:
        """Kills those that are still alive. Returns those that do not end."""
        try:
            noted = {int(pid): int(born) for pid, born in dict(json.loads(self._path.read_text())).items()}
        except OSError:
            return []
        except (ValueError, TypeError) as error:
            # A crash of the machine left it torn or zeroed; the processes that it named ended with the machine.
            log.warning("job_processes_unreadable", file=self._path, error=error)
            return []
        alive = [pid for pid, born in noted.items() if born_at(pid) == born]
        deadline = time.monotonic() + END_SECONDS
        while alive:
            for pid in alive:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            alive = [pid for pid in alive if born_at(pid) == noted[pid]]
            if time.monotonic() > deadline:
                break
            time.sleep(0.005)
        return alive


def born_at(pid: int) -> int | None:
    """In ticks since the machine's start: with the pid that names one process for ever. None if it has ended."""
    stat = proc.stat(pid)
    return None if stat is None or stat[0] == "Z" else int(stat[19])
