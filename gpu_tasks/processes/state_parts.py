"""The parts of a process's state that a job may change, each with how it is read and put back.

A value that was read is not changed by what happens later: lists and dictionaries are copied.
"""

from __future__ import annotations

import faulthandler
import fcntl
import gc
import locale
import logging
import os
import resource
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_LIMITS: Final = tuple(sorted({value for name, value in vars(resource).items() if name.startswith("RLIMIT_")}))
_SIGNALS: Final = tuple(sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}))
_STREAMS: Final = ("stdin", "stdout", "stderr")
#: Copies of the standard streams get numbers from here on: not those that a program expects.
_COPIES_FROM: Final = 200
#: Lines of /proc/self/status that a process cannot put back by itself, or that show a handler that Python does not.
_KERNEL: Final = ("Uid:", "Gid:", "Groups:", "SigIgn:", "SigCgt:", "CapEff:", "NoNewPrivs:", "Seccomp:")
#: 32 and 33.
_LIBC_SIGNALS: Final = 0b11 << 31


@dataclass(frozen=True, slots=True)
class StatePart:
    name: str
    read: Callable[[], Any]
    write: Callable[[Any], object]


def kernel_state() -> tuple[str, ...]:
    """The rights of this process, and the signals that it handles; nothing where there is no /proc."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return ()
    return tuple(_without_libc(line) for line in lines if line.startswith(_KERNEL))


def _without_libc(line: str) -> str:
    """The C library handles its two signals from a process's first thread on."""
    name, _, value = line.partition(":")
    return f"{name}: {int(value, 16) & ~_LIBC_SIGNALS:x}" if name == "SigCgt" else line


# --- signals and limits


def _handlers() -> tuple[Any, ...]:
    return tuple(map(signal.getsignal, _SIGNALS))


def _set_handlers(saved: tuple[Any, ...]) -> None:
    for number, handler in zip(_SIGNALS, saved, strict=True):
        if signal.getsignal(number) != handler:
            signal.signal(number, handler)


def _set_limits(saved: tuple[tuple[int, int], ...]) -> None:
    for limit, values in zip(_LIMITS, saved, strict=True):
        if resource.getrlimit(limit) != values:
            resource.setrlimit(limit, values)


# --- files and folders


def _umask() -> int:
    found = os.umask(0o077)
    os.umask(found)
    return found


def _folder() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 (a path of pathlib costs four times as much)
    except OSError:
        return None  # it was removed


def _streams() -> tuple[Any, ...]:
    """The objects, and the files behind the descriptors 0 to 2."""
    return (*(getattr(sys, name, None) for name in _STREAMS), *map(_file, range(3)))


def _file(descriptor: int) -> tuple[int, int] | None:
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return found.st_dev, found.st_ino


class _Streams:
    """Keeps copies of the descriptors, from which they can be opened again."""

    def __init__(self) -> None:
        self._copies: dict[int, int] = {}

    def read(self) -> tuple[Any, ...]:
        if not self._copies:
            for descriptor in range(3):
                if _file(descriptor) is not None:
                    self._copies[descriptor] = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _COPIES_FROM)
        return _streams()

    def write(self, saved: tuple[Any, ...]) -> None:
        for name, stream in zip(_STREAMS, saved, strict=False):
            setattr(sys, name, stream)
        for descriptor, copy in self._copies.items():
            os.dup2(copy, descriptor, inheritable=True)


# --- Python


def _set_environment(saved: dict[str, str]) -> None:
    for name in set(os.environ) - set(saved):
        del os.environ[name]
    for name, value in saved.items():
        if os.environ.get(name) != value:
            os.environ[name] = value
    time.tzset()


def _hooks() -> tuple[Any, ...]:
    return sys.excepthook, sys.unraisablehook, sys.displayhook, sys.breakpointhook, threading.excepthook


def _set_hooks(saved: tuple[Any, ...]) -> None:
    sys.excepthook, sys.unraisablehook, sys.displayhook, sys.breakpointhook, threading.excepthook = saved


def _interpreter() -> tuple[Any, ...]:
    return (
        sys.getrecursionlimit(),
        sys.getswitchinterval(),
        sys.get_int_max_str_digits(),
        sys.gettrace(),
        sys.getprofile(),
        gc.isenabled(),
        gc.get_threshold(),
        gc.get_debug(),
        list(gc.callbacks),
        faulthandler.is_enabled(),
    )


def _set_interpreter(saved: tuple[Any, ...]) -> None:
    recursion, interval, digits, trace, profile, collects, threshold, debug, callbacks, reports = saved
    sys.setrecursionlimit(recursion)
    sys.setswitchinterval(interval)
    sys.set_int_max_str_digits(digits)
    sys.settrace(trace)
    sys.setprofile(profile)
    (gc.enable if collects else gc.disable)()
    gc.set_threshold(*threshold)
    gc.set_debug(debug)
    gc.callbacks[:] = callbacks
    if not reports:
        faulthandler.disable()


def _set_paths(saved: tuple[list[str], list[str]]) -> None:
    sys.path[:], sys.argv[:] = saved


def _warnings() -> tuple[Any, ...]:
    return list(warnings.filters), warnings.showwarning


def _set_warnings(saved: tuple[Any, ...]) -> None:
    # The call also makes each module forget what it has decided by the old filters.
    warnings.resetwarnings()
    warnings.filters[:], warnings.showwarning = saved  # type: ignore[index]


class _Logs:
    """Of the loggers that exist at the first reading: those that a job adds are its own."""

    def __init__(self) -> None:
        self._loggers: list[logging.Logger] = []

    def read(self) -> list[Any]:
        if not self._loggers:
            known = logging.root.manager.loggerDict.values()
            self._loggers = [logging.root, *(each for each in known if isinstance(each, logging.Logger))]
        found: list[Any] = [
            (each.level, each.disabled, each.propagate, each.handlers[:], each.filters[:]) for each in self._loggers
        ]
        return [logging.root.manager.disable, *found]

    def write(self, saved: list[Any]) -> None:
        logging.disable(saved[0])
        for each, (level, disabled, propagate, handlers, filters) in zip(self._loggers, saved[1:], strict=True):
            each.setLevel(level)
            each.disabled, each.propagate = disabled, propagate
            each.handlers[:], each.filters[:] = handlers, filters


_streams_kept: Final = _Streams()
_logs: Final = _Logs()

PARTS: Final = (
    StatePart("signal handlers", _handlers, _set_handlers),
    StatePart(
        "signal mask",
        lambda: signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        lambda saved: signal.pthread_sigmask(signal.SIG_SETMASK, saved),
    ),
    StatePart("resource limits", lambda: tuple(map(resource.getrlimit, _LIMITS)), _set_limits),
    StatePart("umask", _umask, os.umask),
    StatePart("working folder", _folder, os.chdir),
    StatePart("standard streams", _streams_kept.read, _streams_kept.write),
    StatePart(
        "priority",
        lambda: os.getpriority(os.PRIO_PROCESS, 0),
        lambda saved: os.setpriority(os.PRIO_PROCESS, 0, saved),
    ),
    StatePart("environment", lambda: dict(os.environ), _set_environment),
    StatePart("locale", lambda: locale.setlocale(locale.LC_ALL), lambda saved: locale.setlocale(locale.LC_ALL, saved)),
    StatePart("paths", lambda: (sys.path[:], sys.argv[:]), _set_paths),
    StatePart("hooks", _hooks, _set_hooks),
    StatePart("interpreter settings", _interpreter, _set_interpreter),
    StatePart("warnings", _warnings, _set_warnings),
    StatePart("logs", _logs.read, _logs.write),
    *(
        [StatePart("processor affinity", lambda: os.sched_getaffinity(0), lambda saved: os.sched_setaffinity(0, saved))]
        if hasattr(os, "sched_getaffinity")
        else []
    ),
)
