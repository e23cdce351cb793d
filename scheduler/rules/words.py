"""What the words of the cluster (states, priorities, presets, faults) have in common."""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Word(StrEnum):
    """Stored and shown in lower case; accepted in any case, so that `NORMAL` is `normal` wherever people write it."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        found = cls.__members__.values() if isinstance(value, str) else ()
        return next((word for word in found if word.value == str(value).lower()), None)
