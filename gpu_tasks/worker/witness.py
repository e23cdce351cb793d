"""What this worker itself saw, in a file on disk: the verdict compares it with the event log.

One line for each step, whole or not at all, so it survives a kill -9 of the process at any time. A claim is noted
before it is attempted, so no start lacks its witness. A line that a crash of the machine has cut off stays, and is
marked by the next writer: otherwise the next line would be glued to it, and neither could be read.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from threading import RLock
from typing import Final

from scheduler.logs import event_logger

log = event_logger(__name__)

#: Bytes that are read at once to find the start of a line that was cut off.
_STEP_BYTES: Final = 4096


class Saw(StrEnum):
    CLAIMING = "claiming"
    STARTED = "started"
    #: The ending was committed.
    ENDED = "ended"
    #: The ending came too late and was refused.
    REFUSED = "refused"
    #: The ending is kept on disk, since the database is unavailable.
    KEPT = "kept"
    #: A fault is about to hit the job.
    STRIKE = "strike"
    #: The line before this one was cut off; `bytes` of it are there.
    TORN = "torn"


class Witness:
    def __init__(self, folder: Path, gpu: int, boot: str) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._gpu, self._boot = gpu, boot
        self._path = folder / f"gpu-{gpu}.jsonl"
        self._turn = RLock()
        os.register_at_fork(after_in_child=self._forget_turn)
        # Inherited by every job process of this worker; it can be opened again by one whose job closed it.
        self._file = self._open()
        self._identity = _identity(self._file)

    def saw(self, what: Saw, job_id: int, attempt: int, **more: str) -> None:
        """Times are this machine's, in seconds since the epoch. OSError if the disk is full: then nothing is added."""
        line = {"at": time.time(), "saw": what, "job": job_id, "attempt": attempt, "gpu": self._gpu, "boot": self._boot}
        text = json.dumps(line | more).encode() + b"\n"
        with self._alone() as file:
            size = os.fstat(file).st_size
            if (torn := _torn_bytes(file, size)) > 0:
                # "saw" first: the reader recognises the mark without parsing.
                mark = {"saw": Saw.TORN, "bytes": torn, "at": line["at"], "gpu": self._gpu, "boot": self._boot}
                text = b"\n" + json.dumps(mark).encode() + b"\n" + text
            _append(file, text, size)

    def note(self, what: Saw, job_id: int, attempt: int, **more: str) -> None:
        """As `saw`, of what has already happened: a full disk must not undo or repeat that, so it is only logged. The
        verdict knows that such a note may be missing; only that of a claim may not."""
        try:
            self.saw(what, job_id, attempt, **more)
        except OSError as error:
            log.error("witness_not_written", saw=what, job=job_id, attempt=attempt, gpu=self._gpu, error=error)

    def _open(self) -> int:
        return os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    @contextmanager
    def _alone(self) -> Iterator[int]:
        """Main process and job process write to one file. The lock ends with its process."""
        with self._turn:
            if _identity(self._file) != self._identity:
                self._file = self._open()
                self._identity = _identity(self._file)
            fcntl.lockf(self._file, fcntl.LOCK_EX)
            try:
                yield self._file
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN)

    def _forget_turn(self) -> None:
        """Another thread of the parent may have held it."""
        self._turn = RLock()


def _append(file: int, text: bytes, size: int) -> None:
    """All of it, or nothing."""
    left = text
    try:
        while left:
            left = left[os.write(file, left) :]
    except OSError:
        with suppress(OSError):
            os.ftruncate(file, size)
        raise


def _torn_bytes(file: int, size: int) -> int:
    """Behind the last end of a line."""
    if size == 0 or os.pread(file, 1, size - 1) == b"\n":
        return 0
    end = size
    while end > 0:
        start = max(0, end - _STEP_BYTES)
        if (found := os.pread(file, end - start, start).rfind(b"\n")) >= 0:
            return size - (start + found + 1)
        end = start
    return size


def _identity(file: int) -> tuple[int, int] | None:
    try:
        found = os.fstat(file)
    except OSError:
        return None
    return found.st_dev, found.st_ino
