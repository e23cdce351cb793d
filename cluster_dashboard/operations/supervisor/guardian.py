"""The parent of the supervisor, or of a process that runs without one: restarts it if it is killed, from modules that
are loaded already."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from setproctitle import setproctitle

from cluster_dashboard.operations import processes
from cluster_dashboard.operations.processes import Process
from cluster_dashboard.operations.supervisor import unix
from cluster_dashboard.operations.supervisor.backoff import Backoff
from cluster_dashboard.operations.supervisor.warm import warm_up
from gpu_tasks.processes import prctl
from gpu_tasks.processes.cluster_pids import read_pid
from gpu_tasks.processes.proc import children_of
from scheduler.rules.configuration import EnvironmentInvalid

#: sysexits.h's "internal software error": a bug in this program, or a loop that hangs. Restarted too.
EXIT_BUG: Final = 70

#: A guarded process that lived this long has worked: from loaded modules it is ready within a second.
WORKS_AFTER_SECONDS: Final = 3.0

#: How long the broker of a dead supervisor may take to write its file and end.
BROKER_END_SECONDS: Final = 5.0


@dataclass(slots=True, kw_only=True)
class Guardian:
    #: The guarded process, in words.
    name: str
    #: In a forked child: returns its exit code.
    work: Callable[[], int]
    _pid: int = 0
    _stop_asked: bool = False

    def run(self) -> int:
        """Runs until the guarded process ends by itself; returns its exit code."""
        prctl.become_subreaper()
        setproctitle(f"gpu-cluster: guardian of {self.name}")
        self._pass_stop_signals_on()
        backoff = Backoff()
        while True:
            began = time.monotonic()
            status = self._run_it()
            _end_leftovers()
            code = os.waitstatus_to_exitcode(status)
            if self._stop_asked or code not in {EXIT_BUG, *(-number for number in signal.Signals)}:
                return code if code >= 0 else 1
            lived = time.monotonic() - began
            delay = backoff.delay_after(lived, worked=lived > WORKS_AFTER_SECONDS)
            print(f"{self.name} ended: {unix.describe_end(status)}; restarting in {delay:.1f} s", file=sys.stderr)
            time.sleep(delay)

    def _pass_stop_signals_on(self) -> None:
        for number in unix.STOP_SIGNALS:
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._pass_on)

    def _pass_on(self, number: int, _frame: object) -> None:
        self._stop_asked = True
        if self._pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, number)

    def _run_it(self) -> int:
        with unix.stop_signals_held():
            pid = os.fork()
            if pid == 0:
                _be_it(self.work)
            self._pid = pid
        _, status = os.waitpid(pid, 0)
        self._pid = 0
        return status


def _be_it(work: Callable[[], int]) -> None:
    """Never returns. Signals are held until it listens."""
    code = EXIT_BUG
    try:
        code = work()
    except EnvironmentInvalid as error:
        code = error.exit_code
        print(error, file=sys.stderr)
    except BaseException:  # noqa: BLE001 (the last frame of this process: there is nobody above to tell)
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _end_leftovers() -> None:
    """Kills what a killed supervisor left behind: the next one must find its ports, locks and GPUs free."""
    deadline = time.monotonic() + BROKER_END_SECONDS
    broker_pid = read_pid("broker")
    while left := children_of(os.getpid()):
        for pid in left:
            if pid != broker_pid or time.monotonic() > deadline:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        time.sleep(0.02)


def guard_supervisor() -> int:
    return _guard("supervisor", _supervise)


def guard(process: Process) -> int:
    """For a process without a supervisor, such as the only one of a container."""
    guardian_pid = os.getpid()

    def work() -> int:
        unix.begin_anew(guardian_pid, signal.SIGKILL)
        gc.enable()
        random.seed()
        return processes.run(process)

    return _guard(process.name, work)


def _supervise() -> int:
    from cluster_dashboard.operations.supervisor.run import run  # noqa: PLC0415 (what it loads, no worker needs)

    return run()


def _guard(name: str, work: Callable[[], int]) -> int:
    try:
        warm_up()
        return Guardian(name=name, work=work).run()
    except KeyboardInterrupt:
        return 130
