"""JSON from Redis, read back with types. A value that is torn, or not of the type asked for, is None."""

from __future__ import annotations

import json
import sys
from typing import Any, Final

_FLOAT_MAXIMUM: Final = sys.float_info.max
_INTEGER_MAXIMUM: Final = 2**63 - 1


def json_object(text: bytes | str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def by_gpu(found: Any) -> dict[int, dict[str, Any]]:
    """The objects in a hash of GPU index -> JSON, as Redis returns it; other entries are left out."""
    read = {int(gpu): json_object(text) for gpu, text in found.items() if gpu.isdigit()}
    return {gpu: values for gpu, values in read.items() if values is not None}


def number(value: object) -> float | None:
    """A finite number: JSON as Python reads it also knows NaN and Infinity, which a browser refuses."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if -_FLOAT_MAXIMUM <= value <= _FLOAT_MAXIMUM else None


def integer(value: object) -> int | None:
    """One of 64 bits."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if -_INTEGER_MAXIMUM <= value <= _INTEGER_MAXIMUM else None


def text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def pair(value: object) -> tuple[int, int] | None:
    """Two integers, such as a job and its attempt."""
    if not isinstance(value, list) or len(value) != 2:
        return None
    first, second = map(integer, value)
    return None if first is None or second is None else (first, second)
