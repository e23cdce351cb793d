"""What this worker itself saw, in a file on disk: the verdict compares it with the event log.

One line for each step, appended in one write, so it survives a kill -9 of the process at any time. A claim is
noted before it is attempted, so no start lacks its witness.
"""

from __future__ import annotations

import json
import os
import time
from enum import StrEnum
from pathlib import Path


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


class Witness:
    def __init__(self, folder: Path, gpu: int, boot: str) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._gpu, self._boot = gpu, boot
        # Inherited by every job process of this worker; O_APPEND keeps their lines whole.
        self._file = os.open(folder / f"gpu-{gpu}.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def saw(self, what: Saw, job_id: int, attempt: int, **more: str) -> None:
        """Times are this machine's, in seconds since the epoch."""
        line = {"at": time.time(), "saw": what, "job": job_id, "attempt": attempt, "gpu": self._gpu, "boot": self._boot}
        os.write(self._file, json.dumps(line | more).encode() + b"\n")
