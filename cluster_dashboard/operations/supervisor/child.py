"""One running child of the supervisor: forked from its warm image, its output in a pipe."""

from __future__ import annotations

import gc
import logging
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from logging.config import dictConfig
from typing import Any, Final

from django.conf import settings

from cluster_dashboard.operations import processes
from cluster_dashboard.operations.processes import Process, Role
from cluster_dashboard.operations.supervisor import unix
from scheduler.rules.configuration import EnvironmentInvalid

#: A longer line is cut into pieces: a child cannot fill the supervisor's memory.
MAX_LINE_BYTES: Final = 64 * 1024


@dataclass(slots=True, kw_only=True)
class Child:
    process: Process
    pid: int
    #: The read end of its output.
    pipe: int
    #: Monotonic seconds.
    started_at: float
    _partial: bytes = field(default=b"")

    def read_lines(self) -> tuple[list[str], bool]:
        """What it wrote since the last call, line by line, and whether its output has ended."""
        try:
            data = os.read(self.pipe, 64 * 1024)
        except BlockingIOError:
            return [], False
        *lines, self._partial = (self._partial + data).split(b"\n")
        if self._partial and (not data or len(self._partial) > MAX_LINE_BYTES):
            lines, self._partial = [*lines, self._partial], b""
        return [line.decode(errors="backslashreplace").rstrip("\r") for line in lines], not data


def fork_child(process: Process, *, forget: Callable[[], None]) -> Child:
    """`forget` closes, in the child, what belongs to the supervisor alone (its lock above all)."""
    # Only this thread exists in the child; a lock that another thread holds would never be released.
    assert threading.active_count() == 1, threading.enumerate()  # noqa: S101
    reading, writing = os.pipe()
    supervisor_pid = os.getpid()
    with unix.stop_signals_held():
        pid = os.fork()
        if pid == 0:
            _be_the_process(process, supervisor_pid, writing, forget)
    os.close(writing)
    os.set_blocking(reading, False)
    return Child(process=process, pid=pid, pipe=reading, started_at=time.monotonic())


def _be_the_process(process: Process, supervisor_pid: int, output: int, forget: Callable[[], None]) -> None:
    """Never returns: the frames above it on the stack belong to the supervisor."""
    code = 1
    try:
        _leave_the_supervisor(process, supervisor_pid, output, forget)
        code = processes.run(process)
    except EnvironmentInvalid as error:
        print(error, flush=True)
    except BaseException:  # noqa: BLE001 (the last frame of this process: there is nobody above to tell)
        traceback.print_exc()
    finally:
        logging.shutdown()
        sys.stdout.flush()
        os._exit(code)


def _leave_the_supervisor(process: Process, supervisor_pid: int, output: int, forget: Callable[[], None]) -> None:
    # The broker may write its file first; the others must have ended before their successors start.
    unix.begin_anew(supervisor_pid, signal.SIGTERM if process.role is Role.BROKER else signal.SIGKILL)
    forget()
    _redirect(output)
    gc.enable()
    random.seed()
    _plain_log()


def _redirect(output: int) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(nothing)
    os.close(output)
    # They were made for the supervisor's terminal: lines must not wait in a buffer.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    sys.stderr.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def _plain_log() -> None:
    """The supervisor colours; the same line goes to a file."""
    config: dict[str, Any] = deepcopy(settings.LOGGING)
    config["formatters"]["line"]["color"] = False
    dictConfig(config)
