"""How a process keeps hold of its descendants on Linux. On other systems these functions do nothing."""

from __future__ import annotations

import ctypes
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36

_libc: Final = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def become_subreaper() -> None:
    """Orphans among the descendants of this process become its children, so that it can end them."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def set_death_signal(number: signal.Signals) -> None:
    """The kernel sends it to this process when its parent ends, from now on."""
    _prctl(_PR_SET_PDEATHSIG, number)


def _prctl(option: int, value: int) -> None:
    if _libc is not None and _libc.prctl(option, int(value), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
