"""Lines for people on standard output. A terminal that hangs or is closed never blocks the supervisor."""

from __future__ import annotations

import os
import re
import select
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from cluster_dashboard.logs import LEVEL_COLOR, RESET

#: One colour for each role; the supervisor speaks in bold.
ROLE_COLOR: Final = {
    "broker": "\x1b[31m",
    "scheduler": "\x1b[34m",
    "beat": "\x1b[36m",
    "gpu": "\x1b[32m",
    "web": "\x1b[35m",
    "flower": "\x1b[33m",
    "cluster": "\x1b[1m",
}
NAME_WIDTH: Final = 9

#: Lines that wait for a terminal which was stopped with Ctrl-S; the oldest go first.
MAX_WAITING_LINES: Final = 2000

#: A pipe that polls as writable takes this much without blocking (PIPE_BUF).
_CHUNK_BYTES: Final = 4096

_LEVEL: Final = re.compile(r"^\d\d:\d\d:\d\d\.\d{3} (DEBUG|INFO|WARNING|ERROR|CRITICAL)\b")


def decorate(name: str, line: str, *, color: bool) -> str:
    """The line after its process's name, coloured by role and by level."""
    if not color:
        return f"{name:<{NAME_WIDTH}} | {line}"
    level = _LEVEL.match(line)
    level_color = LEVEL_COLOR[level[1]] if level else ""
    role_color = ROLE_COLOR.get(name.partition("-")[0], "")
    text = f"{level_color}{line}{RESET}" if level_color else line
    return f"{role_color}{name:<{NAME_WIDTH}} |{RESET} {text}"


@dataclass(slots=True)
class Terminal:
    """Never blocks: writes as many bytes as the terminal accepts now; `flush` is called repeatedly."""

    descriptor: int = 1
    _lines: deque[bytes] = field(default_factory=lambda: deque(maxlen=MAX_WAITING_LINES))
    _rest: bytes = b""
    _gone: bool = False

    @property
    def is_tty(self) -> bool:
        return os.isatty(self.descriptor)

    @property
    def has_waiting(self) -> bool:
        return bool(self._lines or self._rest)

    def print(self, text: str) -> None:
        if not self._gone:
            self._lines.append((text + "\n").encode(errors="backslashreplace"))
            self.flush()

    def flush(self, *, wait_seconds: float = 0.0) -> None:
        """Writes what can be written; waits at most this long for each piece."""
        while self.has_waiting and self._writable(wait_seconds):
            if not self._rest:
                self._rest = self._lines.popleft()
            try:
                written = os.write(self.descriptor, self._rest[:_CHUNK_BYTES])
            except OSError:
                self._forget()
                return
            self._rest = self._rest[written:]

    def _writable(self, wait_seconds: float) -> bool:
        poll = select.poll()
        poll.register(self.descriptor, select.POLLOUT)
        try:
            events = poll.poll(wait_seconds * 1000)
        except OSError:
            self._forget()
            return False
        if any(event & select.POLLNVAL for _, event in events):
            self._forget()
            return False
        return bool(events)

    def _forget(self) -> None:
        """The reader is gone (closed pipe, closed terminal window): the log files go on."""
        self._gone = True
        self._lines.clear()
        self._rest = b""
