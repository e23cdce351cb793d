"""When a process that ended is restarted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

FIRST_DELAY_SECONDS: Final = 0.5
LONGEST_DELAY_SECONDS: Final = 15.0

#: A process that ran this long was healthy: its next end counts as its first one.
WELL_AFTER_SECONDS: Final = 30.0
#: So many ends in a row cost no time if the process had worked, and after each of these times it counts one less. A
#: worker that is killed on purpose must be back at once: it alone knows that its job has died.
FREE_IF_WORKED: Final = 4
FORGOTTEN_AFTER_SECONDS: Final = 10.0
#: Of a process that ends before it works, only the first end costs no time.
FREE_IF_NOT: Final = 1


@dataclass(slots=True)
class Backoff:
    """At once the first times, then after 0.5 s, doubling to 15 s."""

    _ends_in_a_row: int = 0

    def delay_after(self, lived_seconds: float, *, worked: bool) -> float:
        """Call it once for each end. worked: whether the process had been ready."""
        if lived_seconds >= WELL_AFTER_SECONDS:
            self._ends_in_a_row = 0
        elif worked:
            self._ends_in_a_row = max(0, self._ends_in_a_row - int(lived_seconds / FORGOTTEN_AFTER_SECONDS))
        self._ends_in_a_row += 1
        beyond = self._ends_in_a_row - (FREE_IF_WORKED if worked else FREE_IF_NOT)
        if beyond <= 0:
            return 0.0
        # The exponent is capped: a process that fails for days must not overflow a float.
        return min(FIRST_DELAY_SECONDS * 2.0 ** min(beyond - 1, 10), LONGEST_DELAY_SECONDS)
