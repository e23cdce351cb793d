"""Starts the processes of one machine, restarts those that die, and stops all of them in order."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import time
from dataclasses import dataclass, field
from typing import Final

from django.conf import settings

from cluster_dashboard.operations.processes import Process, Role
from cluster_dashboard.operations.run_files import alive_path, remove_pid, touched_at
from cluster_dashboard.operations.supervisor import unix
from cluster_dashboard.operations.supervisor.backoff import Backoff
from cluster_dashboard.operations.supervisor.child import Child, fork_child
from cluster_dashboard.operations.supervisor.output import Output
from cluster_dashboard.operations.supervisor.pulses import FROZEN_SECONDS, Pulses
from cluster_dashboard.operations.supervisor.readiness import is_ready
from gpu_tasks.processes.proc import children_of
from scheduler.logs import event_logger

log = event_logger("cluster")

#: How long a process may take to end after SIGTERM. GPU workers use about 8 s of it to requeue their jobs.
STOP_GRACE_SECONDS: Final = 11.0

#: The broker ends last and needs only to write its file. With the grace above: all within 15 s.
BROKER_GRACE_SECONDS: Final = 2.5

#: How often orphans are looked for; nothing else is polled while every process is ready.
IDLE_TICK_SECONDS: Final = 1.0

#: How often a process that is starting is asked whether it is ready.
READINESS_TICK_SECONDS: Final = 0.1

#: A process that is not ready by then is logged; the supervisor goes on waiting for it.
READY_WITHIN_SECONDS: Final = 60.0


@dataclass(slots=True, kw_only=True)
class Part:
    """One process that must run, and its child that does (if any). Times are monotonic seconds."""

    process: Process
    backoff: Backoff = field(default_factory=Backoff)
    child: Child | None = None
    start_at: float = 0.0
    started_before: bool = False
    ready: bool = False
    overdue: bool = False


class Supervisor:
    """`tick` does whatever is due; it never waits for a process longer than for the next event."""

    def __init__(self, processes: list[Process], output: Output, lock: int) -> None:
        self._parts = [Part(process=process) for process in processes]
        self._output, self._lock = output, lock
        self._selector = selectors.PollSelector()
        self._woken, self._waker = socket.socketpair()
        self._stops_asked = 0
        self._stopping_at: float | None = None
        self._killed = False
        self._broker_told_at: float | None = None
        self._pulses, self._look_at = Pulses(), 0.0

    # --- signals ----------------------------------------------------------------------------------

    def listen(self) -> None:
        """From here on signals only wake the loop up."""
        for end in (self._woken, self._waker):
            end.setblocking(False)  # noqa: FBT003
        self._selector.register(self._woken, selectors.EVENT_READ)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        for number in unix.STOP_SIGNALS:
            # After `nohup` the end of the terminal is not meant for us.
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_stop_signal)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        # Its group is not the terminal's: with `stty tostop` a line would stop it.
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def _on_stop_signal(self, *_: object) -> None:
        self._stops_asked += 1

    # --- the loop ---------------------------------------------------------------------------------

    @property
    def all_ready(self) -> bool:
        return all(part.ready for part in self._parts)

    @property
    def stop_asked(self) -> bool:
        return self._stops_asked > 0

    @property
    def stopped(self) -> bool:
        return self._stopping_at is not None and not self._children()

    def tick(self) -> None:
        self._wait()
        self._reap()
        now = time.monotonic()
        if self.stop_asked:
            self._stop(now)
        else:
            self._start_due(now)
            self._look_who_is_ready(now)
            self._end_the_frozen(now)
        self._output.terminal.flush()

    def _wait(self) -> None:
        for key, _events in self._selector.select(self._timeout(time.monotonic())):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    self._woken.recv(4096)
            else:
                self._pass_on(key.data)

    def _timeout(self, now: float) -> float:
        due = [part.start_at - now for part in self._parts if part.child is None and self._may_start(part)]
        starting = any(part.child is not None and not part.ready for part in self._parts)
        busy = starting or self._output.terminal.has_waiting or self.stop_asked
        return max(0.0, min([*due, READINESS_TICK_SECONDS if busy else IDLE_TICK_SECONDS]))

    def _children(self) -> list[Child]:
        return [part.child for part in self._parts if part.child is not None]

    def _pass_on(self, child: Child) -> None:
        lines, ended = child.read_lines()
        for line in lines:
            self._output.line(child.process.name, line)
        if ended:
            self._selector.unregister(child.pipe)
            os.close(child.pipe)

    # --- starting ---------------------------------------------------------------------------------

    def _may_start(self, part: Part) -> bool:
        """The broker starts first. A restart does not wait for it: each process waits for the broker itself."""
        broker = next((each for each in self._parts if each.process.role is Role.BROKER), part)
        return broker is part or broker.ready or part.started_before

    def _start_due(self, now: float) -> None:
        for part in self._parts:
            if part.child is None and part.start_at <= now and self._may_start(part):
                part.ready, part.overdue, part.started_before = False, False, True
                part.child = fork_child(part.process, forget=self._forget)
                self._selector.register(part.child.pipe, selectors.EVENT_READ, part.child)

    def _forget(self) -> None:
        """In a child: closes what only the supervisor may hold. A copy of its lock would block the next supervisor."""
        for descriptor in [key.fd for key in self._selector.get_map().values()]:
            os.close(descriptor)
        os.close(self._waker.fileno())
        os.close(self._lock)
        self._output.close_files()

    def _look_who_is_ready(self, now: float) -> None:
        for part in self._parts:
            if part.child is None or part.ready:
                continue
            age = max(0.0, now - part.child.started_at)
            if is_ready(part.process, part.child.pid):
                part.ready = True
                log.info("process_ready", role=part.process.name, pid=part.child.pid, after_s=f"{age:.1f}")
            elif age > READY_WITHIN_SECONDS and not part.overdue:
                part.overdue = True
                log.warning("process_not_ready", role=part.process.name, pid=part.child.pid, after_s=f"{age:.0f}")

    def _end_the_frozen(self, now: float) -> None:
        if now < self._look_at:
            return
        self._look_at = now + IDLE_TICK_SECONDS
        children = {part.process.name: part.child for part in self._parts if part.child is not None}
        offset = settings.ENVIRONMENT.gpu_offset
        files = {part.process.name: alive_path(part.process.health_name(offset)) for part in self._parts}
        values = {name: at for name in children if (at := touched_at(files[name])) is not None}
        for name in self._pulses.look(values, now):
            log.error("process_frozen", role=name, pid=children[name].pid, seconds=f"{FROZEN_SECONDS:.0f}")
            _kill_group(children[name].pid, signal.SIGKILL)
            self._pulses.forget(name)

    # --- ends -------------------------------------------------------------------------------------

    def _reap(self) -> None:
        for part in self._parts:
            if part.child is not None:
                pid, status = os.waitpid(part.child.pid, os.WNOHANG)
                if pid:
                    self._ended(part, part.child, status)
        self._end_orphans()

    def _ended(self, part: Part, child: Child, status: int) -> None:
        _kill_group(child.pid, signal.SIGKILL)
        if child.pipe in self._selector.get_map():
            self._pass_on(child)
        name, lived = part.process.name, time.monotonic() - child.started_at
        remove_pid(name, child.pid)
        worked = part.ready
        part.child, part.ready = None, False
        if self.stop_asked:
            log.info("process_stopped", role=name, how=unix.describe_end(status))
            return
        delay = part.backoff.delay_after(lived, worked=worked)
        part.start_at = time.monotonic() + delay
        how = unix.describe_end(status)
        log.warning("process_ended", role=name, pid=child.pid, how=how, restart_in_s=f"{delay:.1f}")

    def _end_orphans(self) -> None:
        """Kills what a dead process left behind: a job's processes must not keep using its GPU."""
        ours = {child.pid for child in self._children()}
        for pid in set(children_of(os.getpid())) - ours:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)

    # --- stopping ---------------------------------------------------------------------------------

    def _stop(self, now: float) -> None:
        others = [child for child in self._children() if child.process.role is not Role.BROKER]
        if self._stopping_at is None:
            self._stopping_at = now
            log.info("cluster_stopping", grace_s=f"{STOP_GRACE_SECONDS:.0f}")
            for child in others:
                _send(child.pid, signal.SIGTERM)
        elif others and not self._killed and (self._stops_asked > 1 or now - self._stopping_at > STOP_GRACE_SECONDS):
            self._killed = True
            for child in others:
                log.warning("process_killed", role=child.process.name, pid=child.pid)
                _kill_group(child.pid, signal.SIGKILL)
        if not others:
            self._stop_broker(now)

    def _stop_broker(self, now: float) -> None:
        """Last: the others need it to requeue their jobs."""
        for child in self._children():
            if self._broker_told_at is None:
                self._broker_told_at = now
                _send(child.pid, signal.SIGTERM)
            elif now - self._broker_told_at > BROKER_GRACE_SECONDS:
                _kill_group(child.pid, signal.SIGKILL)

    def end_what_is_left(self) -> None:
        """After the last child ended: kills the orphans that its end has left to this process."""
        deadline = time.monotonic() + 1.0
        while children_of(os.getpid()) and time.monotonic() < deadline:
            self._end_orphans()
            self._selector.select(0.02)
        self._output.terminal.flush(wait_seconds=0.5)


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _kill_group(pid: int, number: signal.Signals) -> None:
    """The process and its group; it may be gone, or too young to lead a group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)
        return
    _send(pid, number)
