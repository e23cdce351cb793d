"""Each job starts from the same process state: what a job changed is put back before the next one.

What cannot be put back here (a lowered hard limit, a thread, another user) is named by `restore`: then another process
runs the next job. What a job changes inside modules is not looked at.
"""

from __future__ import annotations

import decimal
import faulthandler
import os
import random
import signal
import stat
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from gpu_tasks.processes import job_processes, prctl
from gpu_tasks.processes.state_parts import PARTS, StatePart, kernel_state
from scheduler.logs import event_logger

log = event_logger(__name__)

#: A thread that was asked to end (an executor's, a pool's) needs a moment.
THREADS_SECONDS: Final = 0.2
#: Those of other processes stay pending: they ask this process to end.
_ENDING: Final = frozenset({signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGINT})
_TIMERS: Final = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)


class StartState:
    """Captured in the job process before its first job; does nothing in any other process."""

    def __init__(self) -> None:
        self._values: list[Any] = []
        self._kernel: tuple[str, ...] = ()
        self._threads: frozenset[int] = frozenset()
        self._pipes: dict[int, tuple[int, int]] = {}
        self._descriptors: frozenset[int] = frozenset()

    @contextmanager
    def job(self, seed: int) -> Iterator[None]:
        """Around a job's body, which runs with its own seed and its own decimal context, whatever ran before it.

        At its end no timer of the job is left: an alarm would end this process, or raise in the commit of the result.
        """
        if job_processes.is_job_process():
            self._begin(seed)
        with decimal.localcontext():
            try:
                yield
            finally:
                if job_processes.is_job_process():
                    _quieten()

    def restore(self) -> list[str]:
        """After the job and its children have ended. Returns what could not be put back, in words."""
        if not (job_processes.is_job_process() and self._values):
            return []
        lost = [part.name for part, value in zip(PARTS, self._values, strict=True) if not _put_back(part, value)]
        # Again, now that no handler of the job is left: one may have raised in the first call.
        _quieten()
        if os.getpgrp() != os.getpid():
            os.setpgid(0, 0)
        prctl.become_subreaper()
        prctl.set_death_signal(signal.SIGKILL)
        lost += [line.split()[0] for line in kernel_state() if line not in self._kernel]
        if self._left_threads():
            lost.append("threads")
        if self._left_descriptors():
            lost.append("open files or sockets")
        return lost

    def is_cut_off(self) -> bool:
        """Whether the job closed or replaced a pipe of this process: then nothing of it reaches the worker."""
        return job_processes.is_job_process() and any(
            _identity(descriptor) != identity for descriptor, identity in self._pipes.items()
        )

    # --- parts

    def _begin(self, seed: int) -> None:
        if not self._values:
            self._values = [part.read() for part in PARTS]
            self._kernel = kernel_state()
            self._pipes = {each: found for each in _descriptors() if (found := _identity(each, stat.S_ISFIFO))}
        self._threads = frozenset(sys._current_frames())
        self._descriptors = _descriptors()
        random.seed(seed)
        if (numpy_random := sys.modules.get("numpy.random")) is not None:
            numpy_random.seed(seed % 2**32)

    def _left_threads(self) -> bool:
        """Python's: those of libraries (BLAS, CUDA) run no code of the job."""
        deadline = time.monotonic() + THREADS_SECONDS
        while not self._threads.issuperset(sys._current_frames()):
            if time.monotonic() > deadline:
                return True
            time.sleep(0.005)
        return False

    def _left_descriptors(self) -> bool:
        """Of files and sockets: what a library opens once (a device, a pipe to itself) may stay."""
        new = _descriptors() - self._descriptors
        return any(_identity(each, lambda mode: stat.S_ISREG(mode) or stat.S_ISSOCK(mode)) for each in new)


def _put_back(part: StatePart, value: Any) -> bool:
    """Whether the part is now as it was."""
    try:
        if part.read() == value:
            return True
        part.write(value)
        return bool(part.read() == value)
    except BaseException as error:  # noqa: BLE001 (a handler or an object of the job may raise anything)
        log.warning("state_not_put_back", part=part.name, error=f"{type(error).__name__}: {error}")
        return False


def _quieten() -> None:
    """No timer of the job may fire any more, and no signal that it has caused may still arrive."""
    for timer in _TIMERS:
        signal.setitimer(timer, 0)
    signal.set_wakeup_fd(-1)
    faulthandler.cancel_dump_traceback_later()
    if tracemalloc.is_tracing():
        tracemalloc.stop()
    if threading.current_thread() is threading.main_thread():
        for number in signal.sigpending() - _ENDING:
            # To ignore a signal discards those that are pending.
            with suppress(OSError, ValueError):
                previous = signal.signal(number, signal.SIG_IGN)
                signal.signal(number, previous if previous is not None else signal.SIG_DFL)


def _descriptors() -> frozenset[int]:
    try:
        folder = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return frozenset()  # no /proc: not Linux
    try:
        # Without the listing's own: it is the number that the job's first file gets.
        return frozenset(map(int, os.listdir(folder))) - {folder}  # noqa: PTH208 (by its descriptor)
    finally:
        os.close(folder)


def _identity(descriptor: int, is_wanted: Callable[[int], bool] = bool) -> tuple[int, int] | None:
    """None if it is closed, or its kind is not wanted."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if is_wanted(found.st_mode) else None
