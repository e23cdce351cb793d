"""Which processes are frozen, as seen from outside: nothing inside a frozen process can end it.

Each process touches $STATE_DIR/run/<name>.alive every second, whatever the broker and the database do. A regular
expression that holds Python's lock for minutes, or SIGSTOP, stops that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

#: A process that was quiet for this time, while others were not, is ended. Far above what a loaded machine takes from
#: a thread, and above the 20 s of an injected hang.
FROZEN_SECONDS: Final = 60.0

#: After a longer gap between two looks this process was suspended too, and after as long without a sign of any
#: process all of them were, or their folder cannot be written: then every process gets a fresh term.
ALL_QUIET_SECONDS: Final = 5.0


@dataclass(slots=True)
class _Pulse:
    """at: monotonic seconds of its last change. beats: whether it has changed at all; before, the process is starting,
    and the file is its predecessor's."""

    value: int
    at: float
    beats: bool = False


@dataclass(slots=True)
class Pulses:
    """No I/O. Compares values, not their age: wall clocks are set."""

    _pulses: dict[str, _Pulse] = field(default_factory=dict)
    _looked_at: float | None = None

    def look(self, values: Mapping[str, int], now: float) -> list[str]:
        """The frozen processes. values: the time of each process's file; a process without one is not judged. now:
        monotonic seconds."""
        was_suspended = self._looked_at is not None and now - self._looked_at > ALL_QUIET_SECONDS
        self._looked_at = now
        self._pulses = {name: self._next(name, value, now) for name, value in values.items()}
        beating = [pulse for pulse in self._pulses.values() if pulse.beats]
        if was_suspended or all(now - pulse.at > ALL_QUIET_SECONDS for pulse in beating):
            for pulse in beating:
                pulse.at = now
        return [name for name, pulse in self._pulses.items() if pulse.beats and now - pulse.at > FROZEN_SECONDS]

    def _next(self, name: str, value: int, now: float) -> _Pulse:
        before = self._pulses.get(name)
        if before is None:
            return _Pulse(value, now)
        return before if before.value == value else _Pulse(value, now, beats=True)

    def forget(self, name: str) -> None:
        """Its process has ended."""
        self._pulses.pop(name, None)
