"""How the supervisor's processes start and end: forks and signals."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from gpu_tasks.processes import prctl

#: Ctrl-C, kill, and the end of the terminal.
STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def die_with_parent(parent_pid: int, death_signal: signal.Signals) -> None:
    """Called in a child: the kernel sends it the signal when its parent ends, however that ends."""
    prctl.set_death_signal(death_signal)
    if os.getppid() != parent_pid:
        os._exit(1)  # it ended before the call above


def begin_anew(parent_pid: int, death_signal: signal.Signals) -> None:
    """Called in a forked child: a group of its own, the parent's handlers gone, and its end tied to the parent's."""
    # Ctrl-C would reach it twice otherwise, and what it leaves behind can be killed as a whole.
    os.setpgid(0, 0)
    die_with_parent(parent_pid, death_signal)
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGTTOU):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


@contextmanager
def stop_signals_held() -> Iterator[None]:
    """For a fork: a signal must not meet the child while it still has its parent's handlers."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def describe_end(status: int) -> str:
    """A wait status in words."""
    code = os.waitstatus_to_exitcode(status)
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
