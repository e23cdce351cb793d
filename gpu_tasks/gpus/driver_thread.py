"""Calls of a driver that may hang for good: each has a deadline, and one thread at most is stuck."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Lock, Thread


class NoAnswer(Exception):
    """The driver has not answered a call in time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no answer for {seconds:.0f} s")
        self.seconds = seconds


class DriverThread:
    """Runs calls one at a time, each in a thread that only a call that does not return keeps: while one is stuck no
    other is made. A process that is forked needs its own."""

    def __init__(self, name: str) -> None:
        self._name = name
        #: Held by the call in progress.
        self._turn = Lock()
        #: Monotonic seconds at which the call began that has missed its deadline.
        self._late_since: float | None = None

    def ask[T](self, call: Callable[[], T], seconds: float) -> T:
        """The call's value, or its exception. NoAnswer after this time, and at once while an earlier call is late; the
        outcome of a late call is dropped."""
        late_since = self._late_since
        if not self._turn.acquire(timeout=seconds if late_since is None else 0):
            raise NoAnswer(seconds if late_since is None else time.monotonic() - late_since)
        asked = _Call[T](call, self._turn)
        began = time.monotonic()
        self._late_since = None
        Thread(target=asked.run, name=self._name, daemon=True).start()
        if not asked.done.wait(seconds):
            self._late_since = began
            raise NoAnswer(seconds)
        return asked.outcome()


class _Call[T]:
    def __init__(self, call: Callable[[], T], turn: Lock) -> None:
        self._call, self._turn = call, turn
        self._values: list[T] = []
        self._error: BaseException | None = None
        self.done = Event()

    def run(self) -> None:
        try:
            self._values.append(self._call())
        except BaseException as error:  # noqa: BLE001 (raised again in the thread that asked)
            self._error = error
        finally:
            self.done.set()
            self._turn.release()

    def outcome(self) -> T:
        if self._error is not None:
            raise self._error
        return self._values[0]
