"""A job type from outside the project, whose jobs do whatever their test wants to see the worker survive."""

from __future__ import annotations

import gc
import locale
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scheduler.job_type import JobContext, SimpleJobType


@dataclass
class ScriptParams:
    #: Python, with `context` in reach; the variable `result` is the job's result.
    code: str


class Script(SimpleJobType):
    name, summary, Params = "script", "Runs the code of a test", ScriptParams

    def run(self, params: ScriptParams, context: JobContext) -> dict[str, Any]:
        # One namespace, so that functions of the code see its imports.
        names: dict[str, Any] = {"context": context, "result": {}}
        exec(params.code, names)
        return names["result"]


def double(number: int) -> int:
    """For processes that the code starts: they import what they call."""
    return 2 * number


def leave_processes_behind(file: str) -> None:
    """This process, one of its own group, and one in its own session; none of them ends by itself."""
    started = [subprocess.Popen(["sleep", "600"], start_new_session=new) for new in (False, True)]
    aside = Path(f"{file}.new")
    aside.write_text(" ".join(map(str, (os.getpid(), *(each.pid for each in started)))))
    aside.replace(file)
    time.sleep(600)


def state() -> dict[str, Any]:
    """Of the process that a job runs in, as far as a job can change it. Its own threads and files are counted."""
    umask = os.umask(0)
    os.umask(umask)
    return {
        "timers": [signal.getitimer(each) for each in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)],
        "handlers": [str(signal.getsignal(each)) for each in (signal.SIGALRM, signal.SIGTERM, signal.SIGUSR1)],
        "mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "limits": [resource.getrlimit(each) for each in (resource.RLIMIT_CPU, resource.RLIMIT_NOFILE)],
        "environment": dict(os.environ),
        "zone": time.tzname,
        "folder": str(Path.cwd()),
        "umask": umask,
        "streams": [sys.stdout is sys.__stdout__, sys.stderr is sys.__stderr__],
        "files": [os.fstat(each).st_ino for each in (0, 1, 2)],
        "locale": locale.setlocale(locale.LC_ALL),
        "path": sys.path,
        "recursion": sys.getrecursionlimit(),
        "warnings": list(map(str, warnings.filters)),
        "logs": [str(logging.root.handlers), logging.root.level, logging.root.manager.disable],
        "threads": threading.active_count(),
        "gc": [gc.isenabled(), gc.get_threshold()],
        "priority": os.getpriority(os.PRIO_PROCESS, 0),
        "affinity": sorted(os.sched_getaffinity(0)),
        "hook": str(sys.excepthook),
        "group": os.getpgrp() == os.getpid(),
    }
