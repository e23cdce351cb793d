"""A job may start processes by `multiprocessing`, as data loaders do.

Celery's pool starts the job process as a daemon, which may have no children, and registers billiard's object for it
with Python's `multiprocessing`: then no child can be started ("daemonic processes are not allowed to have children"),
and the key that a spawned one needs cannot be sent to it.
"""

from __future__ import annotations

import os
from multiprocessing import process
from typing import Any, Final

import billiard

_KEY_BYTES: Final = 32


class _MainProcess(process.BaseProcess):
    """As the object that Python makes at its start, whose class it then hides."""

    def __init__(self) -> None:
        self._identity: tuple[int, ...] = ()
        self._name = "MainProcess"
        self._parent_pid = None
        self._popen = None
        self._closed = False
        # "/mp": the first letters of a semaphore's name.
        key = process.AuthenticationString(os.urandom(_KEY_BYTES))  # type: ignore[attr-defined]
        self._config: dict[str, Any] = {"authkey": key, "semprefix": "/mp"}

    def close(self) -> None:
        """Nothing to release."""


def become() -> None:
    """To `multiprocessing` this process is a main process without children, like any other program."""
    billiard.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    vars(process).update(_current_process=_MainProcess(), _children=set())
