"""When a process that ended is restarted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

FIRST_DELAY_SECONDS: Final = 0.5
LONGEST_DELAY_SECONDS: Final = 15.0

#: A process that ran this long was healthy: its next end counts as its first one.
WELL_AFTER_SECONDS: Final = 30.0


@dataclass(slots=True)
class Backoff:
    """At once the first time, then after 0.5 s, doubling to 15 s."""

    _ends_in_a_row: int = 0

    def delay_after(self, lived_seconds: float) -> float:
        """Call it once for each end."""
        if lived_seconds >= WELL_AFTER_SECONDS:
            self._ends_in_a_row = 0
        self._ends_in_a_row += 1
        if self._ends_in_a_row == 1:
            return 0.0
        # The exponent is capped: a process that fails for days must not overflow a float.
        return min(FIRST_DELAY_SECONDS * 2.0 ** min(self._ends_in_a_row - 2, 10), LONGEST_DELAY_SECONDS)
