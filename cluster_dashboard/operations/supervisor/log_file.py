"""A log file that keeps its last few megabytes."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

MAX_BYTES: Final = 5_000_000
KEPT_FILES: Final = 3


@dataclass(slots=True)
class LogFile:
    """`name.log` is the newest, `name.log.1` the one before, ... A full disk loses lines, not the cluster."""

    path: Path
    max_bytes: int = MAX_BYTES
    _descriptor: int | None = field(default=None)
    _size: int = 0
    #: The disk was full in the middle of a line.
    _torn: bool = False

    def write(self, line: str) -> None:
        data = (line + "\n").encode(errors="backslashreplace")
        try:
            self._open()
            if self._size > 0 and self._size + len(data) > self.max_bytes:
                self._rotate()
            self._append(b"\n" + data if self._torn else data)
        except OSError:
            self.close()

    def _append(self, data: bytes) -> None:
        descriptor = self._open()
        while data:
            written = os.write(descriptor, data)
            self._size += written
            data = data[written:]
            self._torn = bool(data)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> int:
        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            self._size = os.fstat(self._descriptor).st_size
        return self._descriptor

    def _rotate(self) -> None:
        self.close()
        for n in range(KEPT_FILES - 1, 0, -1):
            older = self.path if n == 1 else self._numbered(n - 1)
            if older.exists():
                older.replace(self._numbered(n))

    def _numbered(self, n: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{n}")
