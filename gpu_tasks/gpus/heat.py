"""How warm a simulated GPU is, on disk: its heat outlives the process that simulates it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gpu_tasks.gpus.plausible import CELSIUS, number
from scheduler.files import replace_file
from scheduler.logs import event_logger

log = event_logger(__name__)

#: Written this often: after a kill, the second before it is forgotten.
WRITE_SECONDS: Final = 1.0


@dataclass(slots=True)
class HeatFile:
    path: Path
    #: Seconds since the epoch: the one clock that a machine keeps while it is off.
    clock: Callable[[], float] = time.time
    _written_at: float = float("-inf")
    _failed: bool = False

    def write(self, parts_c: list[float], now: float) -> None:
        """If it is due. `now`: monotonic seconds. A disk that is full changes nothing else."""
        if now - self._written_at < WRITE_SECONDS:
            return
        self._written_at = now
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self.path, json.dumps({"at": self.clock(), "parts_c": parts_c}))
        except OSError as error:
            if not self._failed:
                log.warning("heat_not_kept", file=self.path, error=error)
            self._failed = True
        else:
            self._failed = False

    def read(self, parts: int) -> tuple[list[float], float] | None:
        """The temperatures of this number of parts in degrees Celsius, and the seconds since then: 0 if the clock was
        set back meanwhile. None if there is no file, or it cannot be read."""
        try:
            values = json.loads(self.path.read_text())
            found = [number(each, CELSIUS) for each in values["parts_c"]]
            passed = self.clock() - float(values["at"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            log.warning("heat_not_read", file=self.path, error=error)
            return None
        known = [each for each in found if each is not None]
        return (known, max(0.0, passed)) if len(known) == len(found) == parts else None
