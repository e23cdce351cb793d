"""The door through which a driver's answers come in: what has the wrong type, or is outside the range that a GPU can
have, is unknown. Drivers return -1 as 2^32-1, and temperatures of hundreds of millions of degrees."""

from __future__ import annotations

from math import isfinite
from typing import Final

#: Ranges, both ends included, far beyond those of any GPU that is sold.
PERCENT: Final = (0, 100)
CELSIUS: Final = (-50, 150)
#: Of limits: 0 is what drivers return for one that they do not know.
LIMIT_CELSIUS: Final = (50, 130)
MILLIWATTS: Final = (0, 20_000_000)
MEGAHERTZ: Final = (0, 20_000)
BYTES: Final = (0, 2**46)
#: As the kernel counts them.
PID: Final = (1, 2**31 - 1)
XID: Final = (1, 2**16)

#: Of names and UUIDs; NVML's longest has 96.
TEXT_LENGTH: Final = 80


def number(value: object, within: tuple[int, int]) -> float | None:
    """A bool is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        return None
    lowest, highest = within
    return float(value) if lowest <= value <= highest else None


def whole(value: object, within: tuple[int, int]) -> int | None:
    found = number(value, within)
    return None if found is None else int(found)


def text(value: object) -> str | None:
    """Printable, and not too long for the database. Older versions of the package return bytes."""
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            return None
    if not isinstance(value, str) or not value.isprintable():
        return None
    return value.strip()[:TEXT_LENGTH] or None
